"""EfficientDet's public weights: TensorFlow, Keras and torch files."""
