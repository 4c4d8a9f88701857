"""Simulated CATER-GEN: scenes, moves and captions by CATER's rules, ray-cast like the robot's."""
