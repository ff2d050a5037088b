"""`export.openvino`: exports a detector to a model for OpenVINO."""
