"""Checks of a model contract's values: what is outside its bounds raises a ModelFileError that names it."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from lidarloop_core.errors import ModelFileError

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 12


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """``value`` as an int in [low, high].

    Raises:
        ModelFileError: another type (a bool and 2.0 too), or out of bounds.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not low <= value <= high:
        raise refused(name, value, f"a whole number from {low} to {high}")
    return int(value)


def number(name: str, value: Any, low: float, high: float) -> float:
    """``value`` as a finite float in [low, high].

    Raises:
        ModelFileError: another type (a bool too), NaN, or out of bounds.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    # Compared before it is converted: an int may be too large for a float. NaN fails every comparison.
    if not is_number or not low <= value <= high:
        raise refused(name, value, f"a number from {low:g} to {high:g}")
    return float(value) + 0.0  # equal values become equal text: -0.0 is 0.0


def numbers(name: str, value: object, count: int, low: float, high: float) -> tuple[float, ...]:
    """``value`` as ``count`` finite floats in [low, high]; raises ModelFileError as ``number`` does."""
    return tuple(number(name, each, low, high) for each in sequence(name, value, count, count))


def whole_numbers(name: str, value: object, count: int, low: int, high: int) -> tuple[int, ...]:
    """``value`` as ``count`` ints in [low, high]; raises ModelFileError as ``whole_number`` does."""
    return tuple(whole_number(name, each, low, high) for each in sequence(name, value, count, count))


def text(name: str, value: object, longest: int = 200) -> str:
    """``value`` as a printable, non-empty string of at most ``longest`` characters.

    Raises:
        ModelFileError: another type, empty, too long, or with characters that cannot be printed.
    """
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise refused(name, value, f"a printable text of 1 to {longest} characters")
    return value


def distinct_texts(name: str, value: object, most: int) -> tuple[str, ...]:
    """``value`` as 1 to ``most`` distinct texts.

    Raises:
        ModelFileError: no sequence, too few or too many, something else than texts, or one of them twice.
    """
    texts = tuple(text(name, each) for each in sequence(name, value, 1, most))
    if len(set(texts)) != len(texts):
        raise refused(name, texts, "distinct names")
    return texts


def sequence(name: str, value: object, fewest: int, most: int) -> tuple[Any, ...]:
    """``value`` as a tuple of ``fewest`` to ``most`` items.

    Raises:
        ModelFileError: no tuple or list, or of another length.
    """
    if not isinstance(value, (tuple, list)) or not fewest <= len(value) <= most:
        raise refused(name, value, f"{fewest} values" if fewest == most else f"{fewest} to {most} values")
    return tuple(value)


def instance_of(name: str, value: object, kinds: tuple[type, ...]) -> None:
    """Raises ModelFileError if ``value`` is of none of the classes."""
    if not isinstance(value, kinds):
        raise refused(name, value, " or ".join(kind.__name__ for kind in kinds))


def refused(name: str, value: object, expected: str) -> ModelFileError:
    """The error for a value of a contract; a long value is shortened."""
    return unfit(name, _REPR.repr(value), expected)


def unfit(name: str, received: str, expected: str) -> ModelFileError:
    """The error for values that do not fit together, from a description of them."""
    return ModelFileError(f"{name} received {received}; expected {expected}: correct it and export the model again")


def set_fields(frozen: object, values: Iterable[tuple[str, object]]) -> None:
    """Sets attributes of a frozen dataclass while it is made: its checked values in their one form."""
    for name, value in values:
        object.__setattr__(frozen, name, value)
