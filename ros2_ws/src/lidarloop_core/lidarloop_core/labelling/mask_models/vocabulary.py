"""Class names and their phrases: prompts of text-prompted models, category names of other tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError
from lidarloop_core.io import outside

_MOST_BYTES = 1 << 24

_NUSCENES_PHRASES = {
    "car": ("car", "van", "suv"),
    "truck": ("truck", "pickup truck", "lorry"),
    "bus": ("bus",),
    "trailer": ("trailer",),
    "construction_vehicle": ("construction vehicle", "excavator"),
    "pedestrian": ("pedestrian", "person"),
    "motorcycle": ("motorcycle", "motor scooter"),
    "bicycle": ("bicycle",),
    "traffic_cone": ("traffic cone",),
    "barrier": ("road barrier", "jersey barrier"),
}


@dataclass(frozen=True)
class Vocabulary:
    """Phrases of each class.

    Attributes:
        phrases: class name → one or more phrases, in lower case, each for one class alone; the classes' order is that
            of the labels.
    """

    phrases: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        flat = [phrase for some in self.phrases.values() for phrase in some]
        twice = sorted({phrase for phrase in flat if flat.count(phrase) > 1})
        odd = [phrase for phrase in flat if not phrase.strip() or phrase != phrase.strip().lower() or "." in phrase]
        if not self.phrases or not all(self.phrases.values()) or twice or odd:
            raise ConfigError(
                f"a vocabulary received classes {', '.join(self.phrases) or 'none'}, phrases of two classes: "
                f"{', '.join(twice) or 'none'}, odd phrases: {', '.join(map(repr, odd)) or 'none'}; expected at least "
                "one phrase for each class, each for one class alone, in lower case and without full stops"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.phrases)

    @property
    def flat(self) -> tuple[str, ...]:
        """All phrases, in the order of their classes."""
        return tuple(phrase for some in self.phrases.values() for phrase in some)

    @property
    def labels(self) -> tuple[int, ...]:
        """For each of ``flat`` the index of its class."""
        return tuple(label for label, some in enumerate(self.phrases.values()) for _ in some)

    def label_of(self, name: str) -> int | None:
        """The index of the class with this name or phrase; None if there is none.

        Capitals, underscores and hyphens do not matter.
        """
        plain = _plain(name)
        for label, (class_name, some) in enumerate(self.phrases.items()):
            if plain == _plain(class_name) or plain in map(_plain, some):
                return label
        return None

    @staticmethod
    def of(class_names: tuple[str, ...]) -> Vocabulary:
        """The default phrases; a class without any has its own name as phrase."""
        return Vocabulary({name: _NUSCENES_PHRASES.get(name, (_plain(name),)) for name in class_names})

    @staticmethod
    def nuscenes() -> Vocabulary:
        return Vocabulary.of(NUSCENES_CLASSES)

    @staticmethod
    def read(path: Path) -> Vocabulary:
        """From JSON: ``{"traffic_cone": ["traffic cone", "pylon"], …}``.

        Raises:
            ConfigError: no such file, or not of that form.
        """
        try:
            raw = outside.read_json(path, _MOST_BYTES)
            if not isinstance(raw, dict) or not all(isinstance(p, str) for some in raw.values() for p in some):
                raise TypeError("no object of lists of strings")
            phrases = {name: tuple(some) for name, some in raw.items() if not isinstance(some, str)}
            if len(phrases) < len(raw):
                raise TypeError("a phrase beside a list")
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f'{path}: no vocabulary ({error}); expected JSON: {{"traffic_cone": ["traffic cone", "pylon"], …}}'
            ) from None
        return Vocabulary(phrases)


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
