"""Average pooling of features over units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lidarloop_training.tasks.pretext.units.sightings import Sightings


def pool(features: Tensor, unit_of_point: Tensor, num_units: int) -> Tensor:
    """Mean of the features of each unit's points; gradients flow to the points.

    Args:
        features: (N, C) float, features of the points.
        unit_of_point: (N,) integer, unit of each point, -1 for none.
        num_units: U. In a batch, units and points are counted on over its clouds.

    Returns:
        (U, C), in the type of ``features``; zeros for a unit without points.
    """
    kept = (unit_of_point >= 0).nonzero().squeeze(1)
    unit = unit_of_point[kept].long()
    return _weighted(features[kept], torch.ones_like(unit, dtype=features.dtype), unit, num_units)


def pool_images(
    maps: Sequence[Tensor], sightings: Sightings, unit_of_point: Tensor, num_units: int, mode: str = "bilinear"
) -> Tensor:
    """Mean of the image features of each unit's points.

    Each point counts once: the features of the cameras that see it are averaged first. Features are read between the
    centres of a map's cells, each of which covers an equal part of the picture.

    Args:
        maps: one map (C, H', W') for each camera; sizes may differ.
        sightings: where the points appear in the pictures.
        unit_of_point: (N,) integer, unit of each point, -1 for none.
        num_units: U, units of this cloud.
        mode: ``bilinear`` or ``nearest``.

    Returns:
        (U, C), in the type of the maps; zeros for a unit that no camera sees.
    """
    device = maps[0].device
    point = torch.from_numpy(sightings.point).to(device)
    unit = unit_of_point.to(device)[point].long()
    num_cameras = torch.bincount(point, minlength=sightings.num_points)
    camera, pixels = torch.from_numpy(sightings.camera).to(device), torch.from_numpy(sightings.pixels).to(device)
    features, weights, units = [], [], []
    for i, (feature_map, size) in enumerate(zip(maps, sightings.sizes, strict=True)):
        rows = ((camera == i) & (unit >= 0)).nonzero().squeeze(1)
        features.append(_sampled(feature_map, pixels[rows], size, mode))
        weights.append(1 / num_cameras[point[rows]].to(feature_map.dtype))
        units.append(unit[rows])
    return _weighted(torch.cat(features), torch.cat(weights), torch.cat(units), num_units)


def _sampled(feature_map: Tensor, pixels: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """(V, C) features at (V, 2) pixels of a picture of this width and height."""
    # grid_sample counts from -1 at the left edge of the first cell to 1 at the right edge of the last.
    place = (pixels + 0.5) / pixels.new_tensor(size) * 2 - 1
    place = place.to(feature_map.dtype)[None, None]
    found = functional.grid_sample(feature_map[None], place, mode=mode, padding_mode="border", align_corners=False)
    return found[0, :, 0].T


def _weighted(features: Tensor, weights: Tensor, unit: Tensor, num_units: int) -> Tensor:
    """(U, C) weighted means of rows (V, C)."""
    sums = features.new_zeros(num_units, features.shape[1]).index_add(0, unit, features * weights[:, None])
    totals = features.new_zeros(num_units).index_add(0, unit, weights)
    return sums / totals.clamp(min=torch.finfo(totals.dtype).tiny)[:, None]
