"""The page to try a run's networks and to review its pseudo-masks in a browser, without a config."""
