"""One colour a class, the same in reports, in the viewer and in RViz."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Mapping
from functools import lru_cache

CLASS_COLORS: Mapping[str, str] = {
    "car": "#ee9900",
    "truck": "#bb4466",
    "bus": "#ff0033",
    "trailer": "#bbaa77",
    "construction_vehicle": "#117711",
    "pedestrian": "#ff77ee",
    "motorcycle": "#8822ff",
    "bicycle": "#6655cc",
    "traffic_cone": "#00bbaa",
    "barrier": "#556699",
}
"""The ten nuScenes classes. Any two lie at least 22 apart in CIE Lab for readers with and without deuteranopia and
protanopia (Machado et al. 2009); all are legible on white and on dark, and none is near the blue of detections."""

# Data sets call the same things by many names; the first line with a part of the name counts.
_ALIKE = (
    (("pedestrian", "person", "child"), "pedestrian"),
    (("motor",), "motorcycle"),
    (("cycl", "bike", "rider"), "bicycle"),
    (("bus", "tram"), "bus"),
    (("cone", "bollard"), "traffic_cone"),
    (("trailer",), "trailer"),
    (("construction",), "construction_vehicle"),
    (("truck", "van", "large"), "truck"),
    (("car", "vehicle"), "car"),
    (("barrier", "sign"), "barrier"),
)


@lru_cache(maxsize=1024)
def class_color(name: str) -> str:
    """The colour of a class, ``"#rrggbb"``.

    Args:
        name: class name of any data set. Names that resemble none of the ten classes get a hue of their own, the same
            each time.
    """
    lowered = name.lower()
    if lowered in CLASS_COLORS:
        return CLASS_COLORS[lowered]
    for parts, class_name in _ALIKE:
        if any(part in lowered for part in parts):
            return CLASS_COLORS[class_name]
    red, green, blue = colorsys.hls_to_rgb(zlib.crc32(lowered.encode()) / 2**32, 0.55, 0.6)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue, 0–255, of ``"#rrggbb"``."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
