"""Points of each mask: accumulation, projection, cleaning."""
