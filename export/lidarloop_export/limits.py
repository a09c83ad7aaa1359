"""Deviations between two ways of running a model, held against their limits."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def beyond(deviations: object, limits: Any) -> list[str]:
    """The deviations above their limits, in words; NaN counts as above, None was not measured.

    Args:
        deviations: has an attribute for each field of ``limits``.
        limits: dataclass of the largest values allowed.
    """
    found = []
    for field in fields(limits):
        value, limit = getattr(deviations, field.name), getattr(limits, field.name)
        if value is not None and not value <= limit:
            found.append(f"{field.name} {value:.3g} > {limit:g}")
    return found


def drop(before: float | None, after: float | None) -> float | None:
    """How much a share (percent) fell: negative where it rose; None where it was not measured."""
    return None if before is None or after is None else before - after
