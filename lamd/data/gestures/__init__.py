"""NATOPS and MUG."""
