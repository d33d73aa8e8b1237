"""What the commands do, each beside the one that prints it."""
