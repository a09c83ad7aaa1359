"""Points painted with the class scores that a 2D network gives the pixels they fall on."""
