"""Offline side of lidarloop: data sources, the network, training stages and evaluation."""
