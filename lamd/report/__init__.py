"""Results and how they are shown; imports neither torch nor cells."""
