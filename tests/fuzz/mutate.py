"""Hostile variants of valid input: a document with some values exchanged, bytes with some of them damaged.

All choices are drawn from the ``random.Random`` that is given, so that a seed repeats an input exactly.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

DEEP = "@deep@"
"""A string that ``json_bytes`` writes as lists nested so deeply that no parser's stack holds them."""
_DEPTH = 100_000

OUTSIDE = "../../../../../../outside/evil"
PATHS = (OUTSIDE, f"{OUTSIDE}.json", "/etc/passwd", "../in", "..", ".", "/", "a/b", "a\\b", "~", "-", "CON")
TEXTS = (
    "",
    " ",
    "0",
    "nan",
    "x" * 10_000,
    "a\nb\x1b[31m",
    "\0",
    "\udcff",
    "é" * 50,
    "{}",
    "%s%n",
    "'; --",
    *PATHS,
    DEEP,
)
WHOLE_NUMBERS = (0, 1, -1, 2, 255, 256, 2**15, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63 - 1, 2**63, -(2**63), 10**30)
REALS = (0.0, -0.0, 1e-320, 1e-9, 0.5, -0.5, 1e9, 1e38, 3.5e38, 1e308, -1e308, math.nan, math.inf, -math.inf)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": None}, [1, 2, 3, 4, 5, 6, 7], [math.nan] * 16)


def value(rng: Random) -> Any:
    """Any hostile value."""
    return copy.deepcopy(rng.choice(rng.choice((TEXTS, WHOLE_NUMBERS, REALS, OTHERS))))


def number(rng: Random) -> float:
    """A hostile number, mostly a float."""
    return rng.choice(rng.choice((WHOLE_NUMBERS, REALS, REALS)))


def document(rng: Random, valid: Any) -> Any:
    """A copy of nested lists and dicts with one to three changes."""
    root = [copy.deepcopy(valid)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if places := _places(root):  # none is left once the root itself is deleted
            rng.choice(_CHANGES)(rng, *rng.choice(places))
    return root[0] if root else None


def _places(root: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below the root; of long lists only the ends, or their items would be most of all."""
    found: list[tuple[Any, Any]] = []
    waiting = [root]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else [*range(len(holder))]
        for key in keys if len(keys) <= 12 else [*keys[:4], *keys[-2:]]:
            found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])
    return found


def _exchange(rng: Random, holder: Any, key: Any) -> None:
    holder[key] = value(rng)


def _alter(rng: Random, holder: Any, key: Any) -> None:
    """Another value of the same kind."""
    old = holder[key]
    if isinstance(old, bool) or old is None:
        holder[key] = not old
    elif isinstance(old, (int, float)):
        with_old = (old + 1, -old, old * 10, str(old), [old])
        holder[key] = rng.choice((number(rng), number(rng), rng.choice(with_old)))
    elif isinstance(old, str):
        holder[key] = rng.choice((rng.choice(TEXTS), old.upper(), f"{old}/../{old}", old[:-1], old * 100))
    elif isinstance(old, list):
        holder[key] = rng.choice(
            (old[:-1], old * 2, old[::-1], [old], old[:1] * 20_000 if len(str(old[:1])) < 99 else [])
        )
    elif isinstance(old, dict):
        holder[key] = rng.choice(({}, list(old), list(old.values()), {**old, "": old}))


def _delete(rng: Random, holder: Any, key: Any) -> None:
    del holder[key]


def _rename(rng: Random, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[rng.choice((f"{key} ", key.upper() if isinstance(key, str) else key, "", DEEP))] = holder.pop(key)
    else:
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[key]))


_CHANGES: tuple[Callable[[Random, Any, Any], None], ...] = (
    _exchange,
    _exchange,
    _alter,
    _alter,
    _alter,
    _delete,
    _rename,
)


def json_bytes(rng: Random, valid: Any) -> bytes:
    """A JSON file: the document changed, or its bytes damaged."""
    if rng.random() < 0.2:
        return data(rng, json.dumps(valid).encode())
    text = json.dumps(document(rng, valid))
    return text.replace(f'"{DEEP}"', "[" * _DEPTH + "]" * _DEPTH).encode()


def data(rng: Random, valid: bytes) -> bytes:
    """Bytes with one to three kinds of damage."""
    damaged = bytearray(valid)
    for _ in range(rng.choice((1, 1, 2, 3))):
        damaged = rng.choice(_DAMAGES)(rng, damaged)
    return bytes(damaged)


def _place(rng: Random, old: bytearray) -> int:
    """Somewhere; half of the time near the beginning or the end, where headers and indices are."""
    near = min(64, len(old))
    where = (rng.randrange(len(old) + 1), rng.randrange(near + 1), len(old) - rng.randrange(near + 1))
    return rng.choice((where[0], rng.choice(where[1:])))


def _flip(rng: Random, old: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if old:
            old[min(_place(rng, old), len(old) - 1)] ^= 1 << rng.randrange(8)
    return old


def _cut(rng: Random, old: bytearray) -> bytearray:
    return old[: _place(rng, old)]


def _drop(rng: Random, old: bytearray) -> bytearray:
    start = _place(rng, old)
    return old[:start] + old[start + rng.choice((1, 2, 4, 8, 100)) :]


def _insert(rng: Random, old: bytearray) -> bytearray:
    start = _place(rng, old)
    return old[:start] + rng.choice((rng.randbytes(1), rng.randbytes(40), bytes(5000), old[:100])) + old[start:]


def _overwrite(rng: Random, old: bytearray) -> bytearray:
    """A size, a count or a float exchanged for an extreme one."""
    start, width = _place(rng, old), rng.choice((1, 2, 4, 8))
    old[start : start + width] = rng.choice((b"\xff", b"\x00", b"\x7f", b"\x80")) * width
    return old


def _empty(rng: Random, old: bytearray) -> bytearray:
    return bytearray(rng.choice((b"", b"\0", b"\xff\xfe", b"[]", b"{}", b"null", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04")))


_DAMAGES: tuple[Callable[[Random, bytearray], bytearray], ...] = (
    _flip, _flip, _flip, _cut, _cut, _drop, _insert, _overwrite, _overwrite, _overwrite, _empty,
)  # fmt: skip


def text(rng: Random, valid: str) -> bytes:
    """A text file of numbers and words: some words exchanged, or its bytes damaged."""
    if rng.random() < 0.3:
        return data(rng, valid.encode(errors="surrogateescape"))
    lines = [line.split(" ") for line in valid.splitlines()]
    for _ in range(rng.choice((1, 1, 2, 5))):
        line = rng.choice(lines)
        i = rng.randrange(len(line))
        line[i : i + 1] = rng.choice(
            ([], [str(number(rng))], [str(number(rng))], [str(value(rng))], [line[i]] * 2, [line[i] + ":"])
        )
        if not line:
            line.append("")
    return "\n".join(map(" ".join, lines)).encode(errors="surrogateescape")
