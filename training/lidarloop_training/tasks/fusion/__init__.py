"""Detection with cameras: boxes from labelled samples with pictures."""
