"""A page of an evaluation: one HTML file with plots and pictures that needs no network."""
