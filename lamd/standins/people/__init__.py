"""Drawn figures that act out a class: signalling bodies (NATOPS) and expressive faces (MUG)."""
