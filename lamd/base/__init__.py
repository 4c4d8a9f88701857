"""Foundations of the package: errors, files, progress, random streams, processes, machine."""
