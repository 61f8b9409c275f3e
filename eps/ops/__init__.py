"""Pure tensor functions: no modules, no config."""
