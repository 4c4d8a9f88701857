"""CATER-GEN-v1 and -v2."""
