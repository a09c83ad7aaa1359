"""Ready-made 2D models behind one protocol."""
