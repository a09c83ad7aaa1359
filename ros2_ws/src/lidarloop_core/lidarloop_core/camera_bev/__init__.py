"""Cameras of a model: what it takes of them, and the table that lays their features on the bird's-eye-view map."""
