"""The networks: MCD-VAE, discriminator, DMG, the baselines' networks and the captioner."""
