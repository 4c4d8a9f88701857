"""Cells: the steps behind a result, each made once."""
