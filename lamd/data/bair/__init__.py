"""BAIR robot pushing."""
