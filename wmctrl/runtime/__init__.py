"""What needs neither PyTorch nor a simulator: files that survive a crash, coloured noise."""
