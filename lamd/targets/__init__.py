"""What a YAML can ask for."""
