"""`export.saved_model`: exports a detector to a SavedModel for TensorFlow Serving."""
