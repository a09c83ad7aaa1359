"""2D masks and a cloud become 3D pseudo-labels, one frame at a time."""
