"""Exports of a trained detector: SavedModel for servers, TFLite for phones."""
