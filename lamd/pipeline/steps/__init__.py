"""The code of each kind of cell."""
