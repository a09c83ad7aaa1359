"""Cameras beside the points: image features on the bird's-eye-view map, and a detector on both."""
