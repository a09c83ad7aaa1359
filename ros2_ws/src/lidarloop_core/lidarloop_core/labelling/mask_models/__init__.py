"""2D models that find objects with masks in pictures."""
