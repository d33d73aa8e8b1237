"""Measurements: what work costs, how trained controllers fare, and what training survives."""
