"""How launch treats values that are known only while launching."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from launch.substitutions import Substitution, TextSubstitution


def normalize_to_list_of_substitutions(value: Any) -> list[Substitution]:
    if isinstance(value, Substitution):
        return [value]
    if isinstance(value, str | Path):
        return [TextSubstitution(text=str(value))]
    if isinstance(value, Iterable):
        return [part for item in value for part in normalize_to_list_of_substitutions(item)]
    raise TypeError(f"expected text or a substitution, received {value!r}")


def perform_substitutions(context: Any, substitutions: Iterable[Substitution]) -> str:
    return "".join(substitution.perform(context) for substitution in substitutions)
