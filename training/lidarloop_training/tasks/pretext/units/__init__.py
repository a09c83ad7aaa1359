"""Contrastive units of a cloud, found without labels (Cai et al., section II-B)."""
