"""Refinement of a drive's pseudo-labels by tracks over time."""
