"""Sparse convolution over neighbour tables."""
