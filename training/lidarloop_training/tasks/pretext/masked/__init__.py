"""Masked reconstruction in the bird's eye view: the generative rival of contrastive pre-training (BEV-MAE)."""
