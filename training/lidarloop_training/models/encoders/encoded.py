"""What an encoder of a detector gives."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Encoded(NamedTuple):
    """A batch of clouds, encoded.

    Attributes:
        levels: (V, C) features of the occupied cells at each level, finest first, the map left out.
        canvas: (B, C, rows, columns) BEV map, zero where there is nothing; rows run along y, columns along x.
    """

    levels: tuple[Tensor, ...]
    canvas: Tensor
