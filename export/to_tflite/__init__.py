"""`export.tflite`: exports a detector to a TFLite file."""
