"""The network of a detector as a TensorFlow graph of constants, with folded batch norms."""
