"""Rigid transforms, boxes, overlaps and the pinhole camera."""
