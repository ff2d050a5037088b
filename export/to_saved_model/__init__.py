"""`export.saved_model`: a detector as a SavedModel for TensorFlow Serving."""
