"""From an agent to a folder that drives without PyTorch."""
