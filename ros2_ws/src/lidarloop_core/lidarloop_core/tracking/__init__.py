"""Boxes over time: a Kalman filter, association by assignment, and the tracker made of them."""
