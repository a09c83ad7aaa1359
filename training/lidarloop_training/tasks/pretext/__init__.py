"""Pre-training without labels."""
