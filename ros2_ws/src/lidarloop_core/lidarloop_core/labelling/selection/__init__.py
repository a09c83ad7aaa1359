"""Selection of labelled frames for training, and their storage."""
