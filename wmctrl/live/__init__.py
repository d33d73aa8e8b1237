"""A plant that is driven and watched in a browser, and changed while it drives."""
