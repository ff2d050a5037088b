"""`export.tflite`: a detector as a TFLite file."""
