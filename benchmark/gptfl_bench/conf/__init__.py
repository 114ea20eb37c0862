"""Settings as data: presets by data set."""
