"""A small image encoder that learns from a source's own pictures, for where no public weights are at hand."""
