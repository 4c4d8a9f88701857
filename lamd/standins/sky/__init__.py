"""Time-lapse skies: evolving noise, cloud layers, light, land and water, drawn frame by frame."""
