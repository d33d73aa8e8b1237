"""Stress tests: how a controller fares while its plant changes, with and without learning."""
