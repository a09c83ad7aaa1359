"""Painting the points of drives with the class scores of 2D networks, for teachers and detectors with cameras."""
