"""Home of the stress tests, which are not built yet."""
