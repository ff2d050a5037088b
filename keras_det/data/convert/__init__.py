"""Writers: a `Dataset` in the formats of other programs."""
