"""What all importers share: file readers, class outputs, filling, the report, fetching, presets."""
