"""Writes and verifies bundles: what was trained, as ONNX graphs with a manifest."""
