"""A mask model of two small ONNX networks: a detector's boxes, cut out by a semantic segmenter's classes.

Neither network gives outlines of instances. The detector gives the box of an object, the segmenter the class of each
pixel: an instance's mask consists of the box's pixels of the classes that the object may show. Both run on overlapping
windows of the picture at several scales, because their inputs are much smaller than a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BackendError, ConfigError
from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.mask_models.onnx_adapters import BoxDetector, CityscapesSegmenter, Segmenter, detector_of
from lidarloop_core.labelling.mask_models.onnx_classes import STREET_RULES, ClassRule
from lidarloop_core.labelling.mask_models.onnx_cut_out import cut_out
from lidarloop_core.labelling.mask_models.onnx_network import OnnxNetwork
from lidarloop_core.labelling.mask_models.onnx_riders import mounts
from lidarloop_core.labelling.mask_models.onnx_tiles import Window, covering, same_object, touches_inner_edge
from lidarloop_core.sample import CameraImage

if TYPE_CHECKING:
    from PIL.Image import Image

Float32Array = npt.NDArray[np.float32]

_SPANNING = 0.8
"""A window that covers at least this share of the picture's width or height is extended over all of it."""


@dataclass(frozen=True)
class OnnxMaskModelConfig:
    """How the two networks are run and joined. The defaults are for pictures of 0.5–2 megapixels and for quality;
    ``OnnxMaskModelConfig(zooms=(2.0,), segmenter_zooms=(), agreeing_scales=1)`` takes a fifth of the time.

    Attributes:
        min_detection: least class score of a box, in [0, 1], before the segmenter runs.
        zooms: scales of the detector, in pixels of the picture for one of its input, besides the full picture in one
            window; scales at which one window covers the picture are skipped.
        agreeing_scales: number of scales; a box's score is the mean of its so many best scales. A box found at one
            scale alone is mostly texture that looks like an object at that size.
        segmenter_zooms: scales of the segmenter, as ``zooms``; its probabilities are averaged over all scales.
        overlap: overlap of neighbouring windows, as a share of a window.
        max_iou, max_inside: thresholds for boxes of one object, in [0, 1]; see ``same_object``.
        min_pixel: least probability of a box's classes for a pixel of the object. It is far below one half: the
            segmenter's probabilities hold for any place in a street; inside a detected box the object is far likelier.
        min_mask: least share of the box that a mask fills; objects with less are dropped.
    """

    min_detection: float = 0.1
    zooms: tuple[float, ...] = (2.0, 1.4, 1.0, 0.7)
    agreeing_scales: int = 3
    segmenter_zooms: tuple[float, ...] = (1.0,)
    overlap: float = 0.25
    max_iou: float = 0.5
    max_inside: float = 0.8
    min_pixel: float = 0.05
    min_mask: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.min_detection, self.overlap, self.max_iou, self.max_inside, self.min_pixel, self.min_mask)
        scales = (*self.zooms, *self.segmenter_zooms)
        if not all(0 <= s <= 1 for s in shares) or self.overlap > 0.9 or min(scales, default=1) <= 0:
            raise ConfigError(f"received {self}; expected shares within 0 and 1, overlap to 0.9, and zooms above 0")
        if self.agreeing_scales < 1:
            raise ConfigError(f"received agreeing_scales {self.agreeing_scales}; expected at least 1")


@dataclass(frozen=True)
class _Found:
    """M objects before their masks: (M, 4) boxes, (M,) scores, (M,) labels, (M,) labels of riders or -1."""

    boxes: Float32Array
    scores: Float32Array
    labels: npt.NDArray[np.int64]
    riders: npt.NDArray[np.int64]


class OnnxMaskModel:
    """A ``MaskModel`` of a detector and a segmenter.

    Args:
        detector: detector of boxes.
        segmenter: segmenter of classes.
        rules: the classes to find, and their recognition.
        config: scales and thresholds; default ``OnnxMaskModelConfig()``.

    Raises:
        ConfigError: a rule names a class that a network does not have.
        BackendError: Pillow is not installed.
    """

    def __init__(
        self,
        detector: BoxDetector,
        segmenter: Segmenter,
        *,
        rules: Sequence[ClassRule] = STREET_RULES,
        config: OnnxMaskModelConfig | None = None,
    ) -> None:
        _check_pillow()
        _check_rules(rules, detector, segmenter)
        self.name = f"{detector.network.name} x {segmenter.network.name}"
        self.class_names = tuple(rule.name for rule in rules)
        self._detector, self._segmenter = detector, segmenter
        self._config = config or OnnxMaskModelConfig()
        self._columns = [[detector.class_names.index(name) for name in rule.detected] for rule in rules]
        self._channels = sorted({segmenter.class_names.index(name) for rule in rules for name in rule.shown})
        in_use = [segmenter.class_names[channel] for channel in self._channels]
        self._shown = [[in_use.index(name) for name in rule.shown] for rule in rules]
        families = [frozenset(rule.shown) for rule in rules]
        self._families = np.array([families.index(family) for family in families])
        self._rider_of = np.array([self.class_names.index(rule.rider) if rule.rider else -1 for rule in rules])

    def find(self, sample_token: str, images: Sequence[CameraImage]) -> list[InstanceMasks]:
        """See ``MaskModel``; the sample's token is not used."""
        return [self.find_in(image.load()) for image in images]

    def find_in(self, picture: npt.NDArray[np.uint8]) -> InstanceMasks:
        """The objects in a (H, W, 3) uint8 RGB picture, best score first."""
        import PIL.Image

        height, width = picture.shape[:2]
        image = PIL.Image.fromarray(picture)
        found = self._with_riders(self._detect(image))
        if not len(found.boxes):
            return InstanceMasks.empty(self.class_names, width, height)
        objects = self._cut_out(found, self._probabilities(image, found.boxes), width, height)
        return objects[np.argsort(-objects.scores, kind="stable")]

    def _detect(self, image: Image) -> _Found:
        """The detector's boxes over all windows, one for each object."""
        config = self._config
        scales = self._detector_windows(image)
        boxes, by_class, scale_of = [], [], []
        for scale, windows in enumerate(scales):
            for window in windows:
                seen = self._detector.detect(image, window)
                scores = np.stack([seen.scores[:, columns].max(axis=1) for columns in self._columns], axis=1)
                margin_px = 0.01 * max(window.width, window.height)
                kept = scores.max(axis=1) >= config.min_detection
                kept &= ~touches_inner_edge(seen.boxes, window, image.width, image.height, margin_px)
                boxes.append(seen.boxes[kept])
                by_class.append(scores[kept])
                scale_of.append(np.full(int(kept.sum()), scale))
        within = np.clip(np.concatenate(boxes), 0, [image.width, image.height] * 2).astype(np.float32)
        return self._one_per_object(within, np.concatenate(by_class), np.concatenate(scale_of), len(scales))

    def _one_per_object(
        self, boxes: Float32Array, by_class: Float32Array, scale_of: npt.NDArray[np.int64], num_scales: int
    ) -> _Found:
        """All windows' boxes → objects: the best box, the label with most votes, the mean score of the best scales."""
        config = self._config
        best, labels = by_class.max(axis=1), by_class.argmax(axis=1)
        best_of = same_object(boxes, best, labels, self._families[labels], config.max_iou, config.max_inside)
        votes = np.zeros_like(by_class)
        np.add.at(votes, best_of, by_class)
        by_scale = np.zeros((len(boxes), num_scales), np.float32)
        np.maximum.at(by_scale, (best_of, scale_of), best)
        num_agreeing = min(config.agreeing_scales, num_scales)
        agreed = np.sort(by_scale, axis=1)[:, num_scales - num_agreeing :].mean(axis=1)
        kept = np.unique(best_of)
        return _Found(boxes[kept], agreed[kept], votes[kept].argmax(axis=1), np.full(len(kept), -1))

    def _with_riders(self, found: _Found) -> _Found:
        """Joins riders to their mounts."""
        boxes, riders = found.boxes.copy(), found.riders.copy()
        on = np.full(len(boxes), -1)
        for label in np.unique(self._rider_of[self._rider_of >= 0]):
            carried = mounts(found.boxes, found.labels == label, self._rider_of[found.labels] == label)
            on = np.where(carried >= 0, carried, on)
        for person in np.flatnonzero(on >= 0):
            mount = on[person]
            riders[mount] = found.labels[person]
            boxes[mount, :2] = np.minimum(boxes[mount, :2], boxes[person, :2])
            boxes[mount, 2:] = np.maximum(boxes[mount, 2:], boxes[person, 2:])
        alone = on < 0
        return _Found(boxes[alone], found.scores[alone], found.labels[alone], riders[alone])

    def _probabilities(self, image: Image, boxes: Float32Array) -> Float32Array:
        """(C', H, W) probabilities of the segmenter's classes in use, averaged over the windows that contain boxes."""
        total = np.zeros((len(self._channels), image.height, image.width), np.float32)
        weight = np.zeros((image.height, image.width), np.float32)
        for window in self._segmenter_windows(image):
            apart = (boxes[:, 0] >= window.right) | (boxes[:, 2] <= window.left)
            apart |= (boxes[:, 1] >= window.bottom) | (boxes[:, 3] <= window.top)
            if apart.all():
                continue
            seen = self._segmenter.segment(image, window)[self._channels]
            part = (slice(window.top, window.bottom), slice(window.left, window.right))
            for channel, values in zip(total, seen, strict=True):
                channel[part] += _enlarged(values, window.width, window.height)
            weight[part] += 1
        total /= np.maximum(weight, 1)
        return total

    def _cut_out(self, found: _Found, probabilities: Float32Array, width: int, height: int) -> InstanceMasks:
        """Masks from boxes and probabilities; objects with too few pixels are dropped."""
        config = self._config
        kinds = list(zip(found.labels.tolist(), found.riders.tolist(), strict=True))
        field_of = {kind: self._field(probabilities, *kind) for kind in set(kinds)}
        cut = cut_out(found.boxes, found.scores, [field_of[kind] for kind in kinds], config.min_pixel)
        num_pixels = np.array([mask.num_pixels for mask in cut.masks])
        area = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
        scores = found.scores * np.sqrt(cut.agreement)
        objects = InstanceMasks(found.boxes, scores, found.labels, cut.masks, self.class_names, width, height)
        return objects[(num_pixels > 0) & (num_pixels >= config.min_mask * area)]

    def _field(self, probabilities: Float32Array, label: int, rider: int) -> Float32Array:
        """(H, W) probability that a pixel shows a class of an object, or of its rider."""
        shown = set(self._shown[label]) | set(self._shown[rider] if rider >= 0 else ())
        field: Float32Array = probabilities[sorted(shown)].sum(axis=0)
        return field

    def _detector_windows(self, image: Image) -> list[list[Window]]:
        """The full picture, then for each zoom the windows that divide it."""
        network = self._detector.network
        scales = [[Window(0, 0, image.width, image.height)]]
        for zoom in self._config.zooms:
            wide, high = round(zoom * network.width), round(zoom * network.height)
            if wide < image.width or high < image.height:
                scales.append(covering(image.width, image.height, wide, high, self._config.overlap))
        return scales

    def _segmenter_windows(self, image: Image) -> list[Window]:
        """The picture at the coarsest scale without much stretching, then for each zoom the windows that divide it."""
        network = self._segmenter.network
        coarsest = min(image.width / network.width, image.height / network.height)
        windows: list[Window] = []
        for zoom in (coarsest, *(zoom for zoom in self._config.segmenter_zooms if zoom < _SPANNING * coarsest)):
            wide, high = round(zoom * network.width), round(zoom * network.height)
            wide = image.width if wide >= _SPANNING * image.width else wide
            high = image.height if high >= _SPANNING * image.height else high
            windows += covering(image.width, image.height, max(wide, 1), max(high, 1), self._config.overlap)
        return windows


def open_onnx_mask_model(
    detector: Path,
    segmenter: Path,
    *,
    rules: Sequence[ClassRule] = STREET_RULES,
    config: OnnxMaskModelConfig | None = None,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    num_threads: int = 1,
) -> OnnxMaskModel:
    """Opens the mask model made of two files: a detector of COCO's classes (YOLOX or FastestDet) and a segmenter of
    Cityscapes' classes (e.g. ESPNetv2).

    Args:
        detector, segmenter: ONNX files.
        rules: the classes to find, and their recognition.
        config: scales and thresholds; default ``OnnxMaskModelConfig()``.
        providers: execution providers of ONNX Runtime, in order; each must be in use: there is no fall-back.
        num_threads: number of threads of one run; 1 leaves the other cores to other work.

    Raises:
        ModelFileError: a file is missing, or of another family.
        BackendError: onnxruntime, a provider or Pillow is missing.
        ConfigError: a rule names a class that a network does not have.
    """
    boxes = OnnxNetwork(detector, providers=providers, num_threads=num_threads)
    classes = OnnxNetwork(segmenter, providers=providers, num_threads=num_threads)
    return OnnxMaskModel(detector_of(boxes), CityscapesSegmenter(classes), rules=rules, config=config)


def _enlarged(values: Float32Array, width: int, height: int) -> Float32Array:
    """(h, w) → (height, width), interpolated linearly."""
    import PIL.Image

    enlarged = PIL.Image.fromarray(values).resize((width, height), PIL.Image.Resampling.BILINEAR)
    return np.asarray(enlarged, np.float32)


def _check_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise BackendError(f"Pillow cannot be imported ({error}); install it: pip install pillow") from None


def _check_rules(rules: Sequence[ClassRule], detector: BoxDetector, segmenter: Segmenter) -> None:
    for network, known, needed in (
        (detector.network, detector.class_names, {n for rule in rules for n in rule.detected}),
        (segmenter.network, segmenter.class_names, {n for rule in rules for n in rule.shown}),
    ):
        if missing := sorted(needed - set(known)):
            raise ConfigError(
                f"rules ask {network.name} for {', '.join(missing)}; it has {', '.join(known)}: change the rules"
            )
    names = [rule.name for rule in rules]
    if not names or len(set(names)) < len(names) or {rule.rider for rule in rules} - {"", *names}:
        raise ConfigError(f"received rules for {', '.join(names)}; expected distinct names, and riders among them")
