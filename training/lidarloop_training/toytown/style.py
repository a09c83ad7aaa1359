"""The styles of the town."""

from __future__ import annotations

from typing import Literal

TownStyle = Literal["plain", "lookalikes"]
"""``plain``: shape, place and intensity tell the classes apart. ``lookalikes``: looks alone do."""
