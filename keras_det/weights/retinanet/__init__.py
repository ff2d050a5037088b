"""RetinaNet's public weights: torchvision's and the TensorFlow Model Garden's."""
