"""Messages as a vehicle records them, and hostile variants that still have the types of their fields."""

from __future__ import annotations

import dataclasses
import struct
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lidarloop_core.io.bag import BagReader, typestore
from lidarloop_training.data.bag.writer import write_bag
from tests.fuzz import mutate
from tests.fuzz.trees import STREET

NAMES = ("", "/", "lidar_top", "/lidar_top", "odom", "base_link", "é", "x" * 5000, "a b", "../../evil", "%s", "\x1b[2J")


@cache
def bag_bytes() -> bytes:
    """The street as a bag."""
    with tempfile.TemporaryDirectory() as name:
        return write_bag(STREET, Path(name) / "street.mcap").read_bytes()


@cache
def recorded() -> tuple[tuple[str, int, Any], ...]:
    """(topic, time, message) of that bag."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "street.mcap"
        path.write_bytes(bag_bytes())
        with BagReader(path) as bag:
            return tuple(bag.messages())


def first_on(topic: str) -> Any:
    """The first message on a topic of the bag."""
    return next(message for name, _, message in recorded() if name == topic)


def hostile(rng: Random, message: Any) -> Any:
    """A copy of a message with one to three of its fields exchanged."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        message = _recordable(rng, message)
    return message


def _recordable(rng: Random, message: Any) -> Any:
    """A changed copy; changes that the message's types cannot hold, e.g. 2**16 in a uint8, are drawn again."""
    while True:
        changed = _changed(rng, message)
        try:
            typestore().serialize_cdr(changed, changed.__msgtype__)
        except (struct.error, OverflowError):
            continue
        return changed


def _changed(rng: Random, value: Any) -> Any:
    """A copy with one field, anywhere inside, exchanged for one of its kind."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if not field.name.startswith("__")]
        name = rng.choice(names)
        return dataclasses.replace(value, **{name: _changed(rng, getattr(value, name))})
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((0, 1, 7, 2**7, 2**16, 2**31 - 1, value + 1, max(0, value - 1)))
    if isinstance(value, float):
        return float(rng.choice(mutate.REALS))
    if isinstance(value, str):
        return rng.choice((*NAMES, value[:-1], value + "x", value.upper()))
    if isinstance(value, np.ndarray):
        return _changed_array(rng, value)
    if isinstance(value, list):
        return _changed_list(rng, value)
    return value


def _changed_array(rng: Random, value: np.ndarray) -> np.ndarray:
    if value.dtype == np.uint8:
        return np.frombuffer(mutate.data(rng, value.tobytes()), np.uint8)
    array = value.copy()
    for _ in range(rng.choice((1, 4))):
        if len(array):
            array[rng.randrange(len(array))] = rng.choice(mutate.REALS)
    # The sizes of matrices are fixed by their message; only `d` and the like may differ.
    return array if len(value) in (9, 12, 36) else rng.choice((array, array[:-1], array[:0], np.tile(array, 4)))


def _changed_list(rng: Random, value: list[Any]) -> list[Any]:
    items = list(value)
    if not items:
        return items
    i = rng.randrange(len(items))
    change = rng.choice(("item", "item", "item", "drop", "repeat", "many", "none"))
    if change == "item":
        items[i] = _changed(rng, items[i])
    elif change == "drop":
        del items[i]
    elif change == "repeat":
        items.append(items[i])
    elif change == "many":
        items = (items * 200)[:2000]
    else:
        items = []
    return items
