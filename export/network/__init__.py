"""The network of a detector as a TensorFlow graph of constants, its batch norms folded."""
