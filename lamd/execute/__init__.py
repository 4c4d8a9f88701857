"""Where cells run: worker processes, Ray, Slurm."""
