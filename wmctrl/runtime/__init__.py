"""Drives a bundle with numpy and ONNX Runtime alone; the part that runs on a board."""
