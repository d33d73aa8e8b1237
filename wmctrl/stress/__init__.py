"""Stress tests: suites of shifts and faults, statistics and reports."""
