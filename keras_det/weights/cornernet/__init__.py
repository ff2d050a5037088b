"""CornerNet's public weights: the authors' PyTorch file."""
