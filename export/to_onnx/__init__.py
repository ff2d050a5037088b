"""`export.onnx`: exports a detector to an ONNX file."""
