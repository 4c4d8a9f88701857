"""Metrics as named, versioned protocols; `protocols` lists them and `measure` applies them."""
