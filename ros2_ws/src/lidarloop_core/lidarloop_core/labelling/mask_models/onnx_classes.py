"""Which of our classes the usual 2D networks know, and by which of their own."""

from __future__ import annotations

from dataclasses import dataclass

COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's 80 classes in the order of every detector trained on it."""

CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""Cityscapes' 19 classes in the order of their training ids; networks may add one for everything else."""


@dataclass(frozen=True)
class ClassRule:
    """Recognition of one of our classes.

    Attributes:
        name: name of our class.
        detected: names of the detector's classes that are this class.
        shown: names of the segmenter's classes that its pixels may have: its own, and those it is confused with. Our
            classes with the same set are a family: one object has one of them.
        rider: our class that may sit on it and is then one object with it; "" for none.
    """

    name: str
    detected: tuple[str, ...]
    shown: tuple[str, ...]
    rider: str = ""


_VEHICLES = ("car", "truck", "bus", "train")
_TWO_WHEELERS = ("bicycle", "motorcycle", "rider")

STREET_RULES = (
    ClassRule("car", ("car",), _VEHICLES),
    ClassRule("truck", ("truck",), _VEHICLES),
    ClassRule("bus", ("bus",), _VEHICLES),
    ClassRule("pedestrian", ("person",), ("person", "rider")),
    ClassRule("motorcycle", ("motorcycle",), _TWO_WHEELERS, rider="pedestrian"),
    ClassRule("bicycle", ("bicycle",), _TWO_WHEELERS, rider="pedestrian"),
)
"""nuScenes' classes that COCO and Cityscapes share. Cones, barriers, trailers and construction vehicles they lack."""
