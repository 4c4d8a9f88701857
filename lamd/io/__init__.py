"""Clips in and out: users' video files, pixel range, old NumPy pickles."""
