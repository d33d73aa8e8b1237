"""What drives a bundle, with neither PyTorch nor a simulator; every bundle carries a copy."""
