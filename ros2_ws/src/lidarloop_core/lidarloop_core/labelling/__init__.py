"""2D masks and points become 3D pseudo-labels, on the vehicle and offline alike."""
