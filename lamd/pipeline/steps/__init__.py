"""What each kind of cell runs."""
