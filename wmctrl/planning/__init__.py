"""Planners and objectives as pure functions over an explicit plan."""
