"""Copy-paste: labelled objects with their points, put into other scenes where there is room.

Source: ground-truth sampling of SECOND (Yan et al., Sensors 2018), section 3.4.1. An object keeps the place it had
before the sensor, so that the density and the visible side of its points stay true. The paper behind the pseudo-labels
(CM3D) uses it in fine-tuning and not in pre-training, where it would multiply the labels' mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes
from lidarloop_core.geometry.iou import bev_iou
from lidarloop_training.ranges import check_ranges

_SEED = 0xC0B9


@dataclass(frozen=True)
class CopyPasteConfig:
    """What is pasted.

    Attributes:
        num_objects: (class, how many objects of it a scene is filled up to, as far as there is room); classes that are
            not named are not pasted.
        min_points: objects with fewer points are not pasted.
        max_kept: objects of a class that are kept for pasting, drawn from all there are.
    """

    num_objects: tuple[tuple[str, int], ...] = ()
    min_points: int = 5
    max_kept: int = 2000

    def __post_init__(self) -> None:
        check_ranges(
            "CopyPasteConfig",
            num_objects=(tuple(number for _, number in self.num_objects), 0, 1000),
            min_points=(self.min_points, 0, 10**6),
            max_kept=(self.max_kept, 1, 10**6),
        )

    def for_classes(self, class_names: tuple[str, ...]) -> CopyPasteConfig:
        """The same for other classes: those without a number get the least of those that are there."""
        if not self.num_objects:
            return self
        numbers = dict(self.num_objects)
        least = min(numbers.values())
        return replace(self, num_objects=tuple((name, numbers.get(name, least)) for name in class_names))


NO_COPY_PASTE = CopyPasteConfig()

_CENTERPOINT_OBJECTS = (
    ("car", 2), ("truck", 3), ("construction_vehicle", 7), ("bus", 4), ("trailer", 6),
    ("barrier", 2), ("motorcycle", 6), ("bicycle", 6), ("pedestrian", 2), ("traffic_cone", 2),
)  # fmt: skip


def centerpoint_copy_paste() -> CopyPasteConfig:
    """CenterPoint's numbers for nuScenes (Yin et al., CVPR 2021, its published configuration)."""
    return CopyPasteConfig(_CENTERPOINT_OBJECTS)


@dataclass(frozen=True)
class StoredObject:
    """One object with its points, in the frame of the LiDAR that saw it.

    Attributes:
        points: (N, C) float32 inside its box, all sweeps.
        values: (9,) float32 box columns, metres and radians.
        weight: confidence in its label, in [0, 1].
    """

    points: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]
    weight: float


class ObjectDatabase:
    """The objects of labelled scenes, by class.

    Args:
        class_names: what labels count in.
        config: what is kept and pasted.
        seed: seed for the choice of objects where there are too many.
    """

    def __init__(self, class_names: tuple[str, ...], config: CopyPasteConfig, seed: int) -> None:
        self.config = config
        self._wanted = {class_names.index(name): number for name, number in config.num_objects if name in class_names}
        self._objects: list[list[StoredObject]] = [[] for _ in class_names]
        self._num_seen = [0] * len(class_names)
        self._rng = np.random.default_rng((seed, _SEED))

    def __len__(self) -> int:
        return sum(map(len, self._objects))

    def objects(self, label: int) -> Sequence[StoredObject]:
        """Those of one class."""
        return self._objects[label]

    def add(self, points: npt.NDArray[np.float32], boxes: Boxes3D) -> None:
        """Takes in a scene's objects, (N, C) points and boxes in one frame."""
        for values, weight, label in zip(boxes.values, boxes.scores, boxes.labels, strict=True):
            if label not in self._wanted:
                continue
            inside = points[points_in_boxes(points, values[None])[0]]
            if len(inside) >= self.config.min_points:
                self._keep(int(label), StoredObject(inside, values, float(weight)))

    def _keep(self, label: int, found: StoredObject) -> None:
        """Reservoir sampling (Vitter's algorithm R): every object has the same chance to stay."""
        kept = self._objects[label]
        self._num_seen[label] += 1
        if len(kept) < self.config.max_kept:
            kept.append(found)
            return
        place = int(self._rng.integers(self._num_seen[label]))
        if place < len(kept):
            kept[place] = found

    def paste(
        self, points: npt.NDArray[np.float32], boxes: Boxes3D, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], Boxes3D]:
        """A scene filled up with objects that touch neither its own nor one another.

        Points of the scene inside a pasted box are removed: two surfaces would stand in one place.

        Args:
            points: (N, C) float32 points of the scene, metres.
            boxes: its labelled objects, in the points' frame.
            rng: source of all randomness.
        """
        drawn = [(label, found) for label in self._wanted for found in self._draw(label, boxes, rng)]
        if not drawn:
            return points, boxes
        values = np.stack([found.values for _, found in drawn])
        place = np.concatenate([boxes.values, values])
        free = _without_collision(bev_iou(values, place) > 0, len(boxes))
        drawn, values = [drawn[i] for i in free], values[free]
        empty = ~points_in_boxes(points, values).any(axis=0)
        pasted = Boxes3D(
            np.concatenate([boxes.values, values]),
            np.append(boxes.scores, [found.weight for _, found in drawn]),
            np.append(boxes.labels, [label for label, _ in drawn]),
            boxes.class_names,
        )
        return np.concatenate([points[empty], *(found.points for _, found in drawn)]), pasted

    def _draw(self, label: int, boxes: Boxes3D, rng: np.random.Generator) -> list[StoredObject]:
        """As many objects of a class as the scene lacks."""
        kept = self._objects[label]
        number = min(self._wanted[label] - int((boxes.labels == label).sum()), len(kept))
        return [kept[i] for i in rng.choice(len(kept), number, replace=False)] if number > 0 else []


def _without_collision(overlaps: npt.NDArray[np.bool_], num_own: int) -> list[int]:
    """The candidates that touch nothing, first come first served.

    Args:
        overlaps: (D, num_own + D) of each candidate with the scene's own objects and with all candidates.
        num_own: objects of the scene.
    """
    taken: list[int] = []
    for i, row in enumerate(overlaps):
        if not row[:num_own].any() and not row[[num_own + j for j in taken]].any():
            taken.append(i)
    return taken
