"""The paradigms of diffusion that are trained, sampled and timed: one file per paradigm."""
