"""The networks: MCD-VAE, its video discriminator, and the DMG."""
