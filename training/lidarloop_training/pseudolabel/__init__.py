"""Pseudo-labels of whole data sets: mask models, lifting, refining, report."""
