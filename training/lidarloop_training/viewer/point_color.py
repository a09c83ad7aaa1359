"""What the viewer colours points by."""

from typing import Literal

PointColor = Literal["intensity", "height", "label", "unit"]
