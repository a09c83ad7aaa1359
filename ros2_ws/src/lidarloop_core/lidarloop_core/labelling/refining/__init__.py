"""Pseudo-labels of a whole drive, followed over time and made better."""
