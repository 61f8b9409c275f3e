"""One equation of a paper each: pure functions of tensors."""
