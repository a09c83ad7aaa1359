"""Voxels and neighbour tables: what a sparse convolution needs beside its weights, made outside the network."""
