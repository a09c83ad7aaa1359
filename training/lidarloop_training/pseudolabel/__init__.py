"""Pseudo-labels of whole data sets: shelf, lifting, refining, report."""
