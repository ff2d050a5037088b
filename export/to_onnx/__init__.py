"""`export.onnx`: a detector as an ONNX file."""
