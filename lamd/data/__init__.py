"""Data sets: registry, readers and the packed cache; the built-in ones are registered here."""

from lamd.data import bair, cater, gestures, sky

__all__ = ["bair", "cater", "gestures", "sky"]
