"""Placing: from the points of an object to its box."""
