"""From PointCloud2 bytes to the index tensors a network takes: decode, merge sweeps, group into pillars."""
