"""What can happen to nodes."""
