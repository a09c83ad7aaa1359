"""Shape priors: the usual size of each class."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io import atomic, outside

_MOST_BYTES = 1 << 24

_DIMENSIONS = ("length", "width", "height")

_PAPER = {
    "car": (4.5, 1.8, 1.4),
    "truck": (8.0, 2.6, 3.6),
    "bus": (12.0, 2.5, 4.0),
    "trailer": (12.0, 2.6, 3.6),
    "construction_vehicle": (4.5, 2.0, 2.5),
    "pedestrian": (0.7, 0.4, 1.7),
    "motorcycle": (2.1, 0.8, 1.7),
    "bicycle": (1.8, 0.6, 1.4),
    "traffic_cone": (0.3, 0.3, 0.7),
    "barrier": (1.2, 0.5, 0.9),
}

# Longer, wider or higher than this no object of a class is, in round numbers of traffic law and of makers.
_LARGEST = {
    "car": (6.5, 2.5, 2.8),
    "truck": (16.0, 3.2, 4.5),
    "bus": (20.0, 3.3, 4.5),
    "trailer": (20.0, 3.5, 4.8),
    "construction_vehicle": (14.0, 4.5, 5.0),
    "pedestrian": (1.5, 1.5, 2.3),
    "motorcycle": (3.2, 1.6, 2.3),
    "bicycle": (2.8, 1.3, 2.3),
    "traffic_cone": (0.8, 0.8, 1.6),
    "barrier": (5.0, 5.0, 2.0),
}
_LARGEST_SHARE = 1.6  # of the usual size, for other classes


def largest_sizes(class_names: Sequence[str]) -> npt.NDArray[np.float64]:
    """(C, 3) bounds of length, width and height of each class, metres; infinite for classes other than nuScenes'."""
    return np.array([_LARGEST.get(name, (np.inf,) * 3) for name in class_names], np.float64).reshape(-1, 3)


@dataclass(frozen=True)
class ShapePriors:
    """The usual size of each class.

    Attributes:
        sizes: class name → length (along the heading), width, height in metres, all positive.
    """

    sizes: Mapping[str, tuple[float, float, float]]

    def __post_init__(self) -> None:
        for name, size in self.sizes.items():
            if len(size) != 3 or not all(np.isfinite(size)) or min(size) <= 0:
                raise ConfigError(
                    f"ShapePriors received {size} for {name}; expected length, width and height in metres, all positive"
                )

    def of(self, class_names: Sequence[str]) -> npt.NDArray[np.float64]:
        """(C, 3) length, width, height of each class, metres.

        Raises:
            ConfigError: a class has no prior.
        """
        missing = [name for name in class_names if name not in self.sizes]
        if missing:
            raise ConfigError(
                f"no shape prior for {', '.join(missing)}; expected one for each class, found {', '.join(self.sizes)}: "
                "add length, width and height of the missing ones to the priors file"
            )
        return np.array([self.sizes[name] for name in class_names], np.float64).reshape(-1, 3)

    def largest(self, class_names: Sequence[str]) -> npt.NDArray[np.float64]:
        """(C, 3) bounds of length, width and height of each class, metres; never below the usual size.

        Raises:
            ConfigError: a class has no prior.
        """
        usual = self.of(class_names)
        known = [
            _LARGEST.get(name, tuple(_LARGEST_SHARE * size)) for name, size in zip(class_names, usual, strict=True)
        ]
        return np.maximum(np.array(known, np.float64).reshape(-1, 3), usual)

    @staticmethod
    def paper() -> ShapePriors:
        """The priors of CM3D's authors for the ten nuScenes classes, which a language model gave; here length first."""
        return ShapePriors(dict(_PAPER))

    @staticmethod
    def from_statistics(boxes: Sequence[Boxes3D]) -> ShapePriors:
        """The median size of each class among labelled boxes; a class without a box gets none."""
        found: dict[str, list[npt.NDArray[np.float32]]] = {}
        for frame in boxes:
            for name, size in zip(frame.names, frame.dimensions, strict=True):
                found.setdefault(name, []).append(size)
        medians = {name: np.median(np.array(sizes, np.float64), axis=0).round(3) for name, sizes in found.items()}
        return ShapePriors({name: (float(m[0]), float(m[1]), float(m[2])) for name, m in medians.items()})

    @staticmethod
    def read(path: Path) -> ShapePriors:
        """From JSON: class name → {"length": m, "width": m, "height": m}, the form to ask a language model for.

        Raises:
            ConfigError: the file is missing, no JSON, or of another form.
        """
        try:
            entries = outside.read_json(Path(path), _MOST_BYTES)
            sizes = {
                str(name): (float(entry["length"]), float(entry["width"]), float(entry["height"]))
                for name, entry in entries.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path}: no shape priors ({type(error).__name__}: {error}); expected JSON like "
                '{"car": {"length": 4.5, "width": 1.8, "height": 1.4}, …} in metres'
            ) from None
        return ShapePriors(sizes)

    def write(self, path: Path) -> None:
        """The inverse of ``read``."""
        entries = {name: dict(zip(_DIMENSIONS, size, strict=True)) for name, size in self.sizes.items()}
        atomic.write_bytes(Path(path), (json.dumps(entries, indent=2) + "\n").encode())
