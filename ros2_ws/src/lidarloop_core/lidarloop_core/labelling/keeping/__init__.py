"""Which labelled frames are worth keeping, and how they are kept."""
