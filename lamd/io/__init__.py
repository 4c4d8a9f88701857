"""Clips in and out: users' video files and the pixel range."""
