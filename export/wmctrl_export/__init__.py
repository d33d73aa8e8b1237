"""Home of the export to ONNX, which is not built yet."""
