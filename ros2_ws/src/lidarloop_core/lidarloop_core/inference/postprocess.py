"""Postprocessing of a network's boxes on the vehicle: thresholds by class and range, renaming, suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.iou import nms_rotated_by_label


@dataclass(frozen=True)
class RangeBands:
    """Score thresholds of one class over the distance from the sensor.

    Attributes:
        thresholds: score thresholds, one per band, nearest first.
        edges_m: distances at which one band ends and the next begins, metres, ascending; one fewer than there are
            thresholds.
    """

    thresholds: tuple[float, ...]
    edges_m: tuple[float, ...] = ()

    def at(self, range_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """(N,) thresholds at (N,) distances in the horizontal plane, metres."""
        return np.asarray(self.thresholds)[np.searchsorted(self.edges_m, range_m, side="right")]


@dataclass(frozen=True)
class Renaming:
    """One class, or its larger boxes, published as another.

    Attributes:
        source: class of the model.
        target: class to publish; "" leaves the boxes out.
        above_area_m2: only boxes with more ground area (length × width) than this.
    """

    source: str
    target: str
    above_area_m2: float = 0.0


@dataclass(frozen=True)
class Postprocessing:
    """Settings that may differ from cloud to cloud; replaced as one value, so no cloud gets half a change.

    Attributes:
        score_threshold: threshold of the classes that ``score_thresholds`` does not name; default 0.1.
        nms_iou: IoU of the published classes that ``nms_ious`` does not name; default 0.2. Of two boxes of a published
            class that overlap more than this (bird's-eye-view IoU), the weaker is left out.
        score_thresholds: class of the model → its thresholds.
        nms_ious: published class → its IoU.
        renamings: renamings, applied after the thresholds and before the suppression; of several for one box the last
            counts.

    Raises:
        ConfigError: a threshold outside [0, 1].
    """

    score_threshold: float = 0.1
    nms_iou: float = 0.2
    score_thresholds: Mapping[str, RangeBands] = field(default_factory=dict)
    nms_ious: Mapping[str, float] = field(default_factory=dict)
    renamings: Sequence[Renaming] = ()

    def __post_init__(self) -> None:
        for name in ("score_threshold", "nms_iou"):
            _require_share(name, getattr(self, name))

    @staticmethod
    def by_class(
        class_names: tuple[str, ...], score_threshold: float | Sequence[float], nms_iou: float | Sequence[float]
    ) -> Postprocessing:
        """Settings from one value for all classes, or one for each.

        Raises:
            ConfigError: a number of values that is neither, or a value outside [0, 1].
        """
        scores = _one_per_class("score_threshold", score_threshold, class_names)
        overlaps = _one_per_class("nms_iou", nms_iou, class_names)
        return Postprocessing(
            score_thresholds={name: RangeBands((value,)) for name, value in scores.items()}, nms_ious=overlaps
        )

    def published_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """The model's classes, then those that only renaming brings: a label of the model keeps its meaning."""
        return (*class_names, *dict.fromkeys(r.target for r in self.renamings if r.target not in ("", *class_names)))

    def require_classes(self, class_names: tuple[str, ...]) -> None:
        """Raises ConfigError if a setting names a class that neither the model has nor a renaming brings."""
        published = self.published_classes(class_names)
        named = (
            ("score threshold", self.score_thresholds, class_names),
            ("class to rename", [renaming.source for renaming in self.renamings], class_names),
            ("overlap threshold", self.nms_ious, published),
        )
        for what, names, known in named:
            if unknown := [name for name in names if name not in known]:
                raise ConfigError(f"{what} of '{unknown[0]}'; expected one of the classes {', '.join(known)}")

    def passing(self, boxes: Boxes3D) -> Boxes3D:
        """The boxes that are not below their threshold; a score that is NaN is not below."""
        thresholds = np.full(len(boxes), self.score_threshold)
        if self.score_thresholds:
            range_m = np.hypot(boxes.values[:, 0], boxes.values[:, 1])
            for name, bands in self.score_thresholds.items():
                of_class = boxes.labels == boxes.class_names.index(name)
                thresholds[of_class] = bands.at(range_m[of_class])
        return boxes[~(boxes.scores < thresholds)]

    def publishable(self, passing: Boxes3D) -> Boxes3D:
        """The boxes that are published of those that passed, in published classes: the stronger of two, best first."""
        boxes = self._renamed(passing)
        overlaps = [self.nms_ious.get(name, self.nms_iou) for name in boxes.class_names]
        return boxes[nms_rotated_by_label(boxes.values, boxes.scores, boxes.labels, overlaps)]

    def _renamed(self, boxes: Boxes3D) -> Boxes3D:
        if not self.renamings:
            return boxes
        published = self.published_classes(boxes.class_names)
        labels = boxes.labels.copy()
        area_m2 = boxes.values[:, 3] * boxes.values[:, 4]
        for renaming in self.renamings:
            source = boxes.class_names.index(renaming.source)
            chosen = (boxes.labels == source) & (area_m2 > renaming.above_area_m2)
            labels[chosen] = published.index(renaming.target) if renaming.target else -1
        kept = labels >= 0
        return Boxes3D(boxes.values[kept], boxes.scores[kept], labels[kept], published)


def _one_per_class(name: str, value: float | Sequence[float], class_names: tuple[str, ...]) -> dict[str, float]:
    values = [float(v) for v in np.atleast_1d(np.asarray(value, dtype=np.float64))]
    if len(values) not in (1, len(class_names)):
        raise ConfigError(
            f"{name} received {len(values)} values; expected one, or one for each of {len(class_names)} classes: "
            f"{', '.join(class_names)}"
        )
    for each in values:
        _require_share(name, each)
    return dict(zip(class_names, values * (len(class_names) if len(values) == 1 else 1), strict=True))


def parse_thresholds(text: str) -> dict[str, RangeBands]:
    """Reads ``"car: 0.35; pedestrian: 0.2 <20, 0.3 <40, 0.4"``: 0.2 nearer than 20 m, 0.3 to 40 m, 0.4 beyond.

    Raises:
        ConfigError: another form, a threshold outside [0, 1], or distances that do not ascend.
    """
    return {name: _bands(name, value) for name, value in _entries(text)}


def parse_overlaps(text: str) -> dict[str, float]:
    """Reads ``"pedestrian: 0.5; car: 0.1"``.

    Raises:
        ConfigError: another form, or a value outside [0, 1].
    """
    return {name: _share(name, value) for name, value in _entries(text)}


def parse_renamings(text: str) -> tuple[Renaming, ...]:
    """Reads ``"construction_vehicle: truck; car: truck >12.1; barrier:"``.

    The first are published as trucks, cars of more than 12.1 m² of ground too, and barriers not at all.

    Raises:
        ConfigError: another form, or an area that is no number ≥ 0.
    """
    renamings = []
    for source, value in _entries(text):
        target, has_area, area = value.partition(">")
        area_m2 = _number(source, area) if has_area else 0.0
        if area_m2 < 0:
            raise ConfigError(f"'{source}' received the area {area_m2:g} m²; expected one of at least 0")
        renamings.append(Renaming(source, target.strip(), area_m2))
    return tuple(renamings)


def _entries(text: str) -> list[tuple[str, str]]:
    entries = []
    for part in filter(None, map(str.strip, text.split(";"))):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        if not (name and colon):
            raise ConfigError(f"received '{part}'; expected CLASS: VALUE, and ';' between classes")
        entries.append((name, value))
    return entries


def _bands(name: str, text: str) -> RangeBands:
    thresholds, edges_m = [], []
    *nearer, last = text.split(",")
    for band in nearer:
        threshold, below, edge = band.partition("<")
        if not below:
            raise ConfigError(f"'{name}' received '{text}'; expected SCORE <METRES for every band but the last")
        thresholds.append(_share(name, threshold))
        edges_m.append(_number(name, edge))
    thresholds.append(_share(name, last))
    if (np.diff([0.0, *edges_m]) <= 0).any():
        raise ConfigError(f"'{name}' received bands that end at {edges_m} m; expected ascending distances above 0")
    return RangeBands(tuple(thresholds), tuple(edges_m))


def _share(name: str, text: str) -> float:
    value = _number(name, text)
    _require_share(name, value)
    return value


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"'{name}' received {value:g}; expected a number from 0 to 1")


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ConfigError(f"'{name}' received '{text.strip()}'; expected a number")
    return value
