"""Which parts of a run are done: a killed run continues where it was, and two configurations never mix.

``OUT/manifest.json`` is written once, before any work. Each finished segment is a file of its own, which appears
complete or not at all and carries the configuration's hash in its name: there is nothing to lock and nothing to repair.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.io import atomic, outside
from lidarloop_training.data.writing.pseudo_labels import EVIDENCE, LABELS
from lidarloop_training.pseudolabel.job import sha256_of

MANIFEST, SEGMENTS = "manifest.json", "segments"
_NUM_SHOWN = 3


@dataclass(frozen=True, order=True)
class Segment:
    """A piece of work: every ``step``-th sample from ``first`` to ``last``, both included."""

    first: int
    last: int
    step: int = 1

    @property
    def frames(self) -> range:
        return range(self.first, self.last + 1, self.step)

    @property
    def name(self) -> str:
        return f"{self.first:06d}-{self.last:06d}"


def segments_of(num_frames: int, every: int, segment_frames: int) -> tuple[Segment, ...]:
    """The labelled samples of a source, cut in pieces of ``segment_frames``; the last may be shorter."""
    frames = range(0, num_frames, every)
    pieces = (frames[i : i + segment_frames] for i in range(0, len(frames), segment_frames))
    return tuple(Segment(piece[0], piece[-1], every) for piece in pieces)


class Manifest:
    """The record of one run in one folder."""

    def __init__(self, out: Path, config: Mapping[str, Any], segments: tuple[Segment, ...]) -> None:
        """Takes up the run found in ``out``, or begins one; a run that has finished nothing yet is begun anew.

        Raises:
            ConfigError: ``out`` holds a run of another configuration.
            DatasetError: ``out`` is a file, or holds something else.
        """
        self.out = out
        self.segments = segments
        document = {"config": dict(config), "segments": [segment.name for segment in segments]}
        self.sha256 = sha256_of(document)
        path = out / MANIFEST
        if path.is_file() and any((out / SEGMENTS).glob("*.json")):
            _check_same(out, _read(path), document)
            return
        if not path.is_file() and out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DatasetError(f"{out} exists and holds no labelling run; expected a new or empty folder: choose one")
        text = json.dumps({**document, "sha256": self.sha256}, indent=1, ensure_ascii=False) + "\n"
        atomic.write_bytes(path, text.encode())

    def is_done(self, segment: Segment) -> bool:
        return self._path(segment).is_file()

    def pending(self) -> tuple[Segment, ...]:
        """What is still to be done, in order."""
        return tuple(segment for segment in self.segments if not self.is_done(segment))

    def record(self, segment: Segment, document: bytes) -> None:
        """Writes the document of a finished segment; one that is there stays."""
        if not self.is_done(segment):
            atomic.write_bytes(self._path(segment), document)

    def documents(self) -> Iterator[dict[str, Any]]:
        """The finished segments, in order."""
        for segment in self.segments:
            yield outside.read_json(self._path(segment))

    def _path(self, segment: Segment) -> Path:
        return self.out / SEGMENTS / f"{segment.name}.{self.sha256[:16]}.json"


def remove_run(out: Path) -> None:
    """Deletes a run of ours and nothing else.

    Raises:
        DatasetError: ``out`` holds something else.
    """
    if not out.exists():
        return
    if not (out / MANIFEST).is_file():
        raise DatasetError(f"{out} exists and holds no labelling run; expected one to overwrite: choose another folder")
    shutil.rmtree(out / SEGMENTS, ignore_errors=True)
    for labels in out.glob(f"*/{LABELS}"):
        labels.with_name(EVIDENCE).unlink(missing_ok=True)
        labels.unlink()
    (out / MANIFEST).unlink()  # last: a deletion that breaks off can be repeated
    for file in ("report.html", "metrics.json"):
        (out / file).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = outside.read_json(path)
        if not isinstance(document, dict):
            raise ValueError(f"a {type(document).__name__}, expected an object")
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} is no manifest ({error}); expected the file of a labelling run: delete it"
        ) from None
    return document


def _check_same(out: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    there, here = _flat({k: found.get(k) for k in wanted}), _flat(dict(wanted))
    changed = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    if not changed:
        return
    shown = "; ".join(f"{key}: was {there.get(key)!r}, now {here.get(key)!r}" for key in changed[:_NUM_SHOWN])
    more = f"; and {len(changed) - _NUM_SHOWN} more" if len(changed) > _NUM_SHOWN else ""
    raise ConfigError(
        f"{out} holds a run of another configuration ({shown}{more}); expected the same one to go on with: choose "
        "another folder, or pass --overwrite to begin anew"
    )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested dicts by dotted names; "config." is left out of them."""
    if not isinstance(value, dict):
        return {prefix.removeprefix("config."): value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else key)
    return flat
