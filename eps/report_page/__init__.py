"""The page that a run ends in: numbers, charts and pictures, without a config."""
