"""Landscape, from Sky Time-lapse."""
