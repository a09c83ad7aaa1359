"""From PointCloud2 bytes to the index tensors that a network takes: decode, merge sweeps, group by a grid."""
