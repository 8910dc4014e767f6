"""Pure functions on tensors; each states its equation."""
