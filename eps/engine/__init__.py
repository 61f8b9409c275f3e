"""Device, precision, training loop, checkpoints and inference."""
