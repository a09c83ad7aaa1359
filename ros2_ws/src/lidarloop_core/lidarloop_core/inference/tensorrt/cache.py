"""Engines on disk: a cache that may be deleted at any time, and whose engines are loaded only where they belong.

An engine belongs to one model, runtime version, GPU, precision and shape profile; elsewhere it is useless or wrong. The
file's name is a hash of all of them, and its first line repeats them with the engine's own hash: a file that was
renamed, copied from another vehicle, truncated or bit-flipped is built anew, never loaded.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lidarloop_core.io import atomic, outside

_FORMAT = "lidarloop engine 1"

Report = Callable[[str], None]
"""Takes a line of progress."""


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on.

    Attributes:
        model_sha256: hex hash of the model file.
        runtime: the runtime's name and version, e.g. ``"tensorrt 10.3.0"``.
        gpu: the GPU's name and compute capability, e.g. ``"Orin sm_87"``.
        precision: arithmetic of the model file: ``fp32``, ``fp16`` or ``int8``.
        profile: the shapes that it is built for, as text.
    """

    model_sha256: str
    runtime: str
    gpu: str
    precision: str
    profile: str

    @property
    def digest(self) -> str:
        """Hash of all fields, the stem of the file's name."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


def default_folder() -> Path:
    """``$LIDARLOOP_ENGINE_CACHE``, else ``lidarloop/engines`` in the user's cache folder."""
    if chosen := os.environ.get("LIDARLOOP_ENGINE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lidarloop" / "engines"


class EngineCache:
    """A folder of engines and of one timing cache per runtime and GPU.

    Args:
        folder: folder of the engines, made with the first; the user's own by default.
        report: takes a line on why an engine is built or waited for.
    """

    def __init__(self, folder: Path | None = None, report: Report = lambda _: None) -> None:
        self.folder = default_folder() if folder is None else folder
        self._report = report

    def path(self, key: EngineKey) -> Path:
        """The file of an engine, whether it is there or not."""
        return self.folder / f"{key.digest}.engine"

    def get(self, key: EngineKey) -> bytes | None:
        """The engine, if a complete one for exactly this key is there."""
        engine, reason = _read(self.path(key), asdict(key))
        if engine is None:
            self._report(f"{self.path(key)}: {reason}")
        return engine

    def get_or_build(self, key: EngineKey, build: Callable[[bytes], tuple[bytes, bytes]]) -> bytes:
        """The engine from disk, or built and kept.

        Of several processes that want the same engine one builds; the others wait and then read it. A builder that is
        killed leaves nothing behind that counts, and its lock ends with it.

        Args:
            key: the key that the engine must have.
            build: function: timing cache (empty where there is none yet) → engine and the timing cache afterwards.
        """
        if (engine := self.get(key)) is not None:
            return engine
        with self._locked(key):
            if (engine := self.get(key)) is not None:  # another process was faster
                return engine
            self._report(f"building the engine for {key.gpu}, {key.runtime}, {key.precision}; this happens once")
            for leftover in self.folder.glob(f".{self.path(key).name}.*.tmp"):  # of a builder that was killed
                leftover.unlink(missing_ok=True)
            engine, timings = build(self._timings(key))
            _write(self.path(key), asdict(key), engine)
            if timings:
                _write(self._timings_path(key), _timings_key(key), timings)
            return engine

    def stored(self) -> Iterator[tuple[Path, EngineKey | None]]:
        """Every engine in the folder and its key; None for a file that is mangled."""
        for path in sorted(self.folder.glob("*.engine")):
            key = _key_of(path)
            yield path, key if key is not None and _read(path, asdict(key))[0] is not None else None

    def discard(self, key: EngineKey) -> None:
        """Deletes an engine, e.g. one that the runtime refuses."""
        self.path(key).unlink(missing_ok=True)

    def _timings(self, key: EngineKey) -> bytes:
        return _read(self._timings_path(key), _timings_key(key))[0] or b""

    def _timings_path(self, key: EngineKey) -> Path:
        digest = hashlib.sha256(json.dumps(_timings_key(key), sort_keys=True).encode()).hexdigest()[:32]
        return self.folder / f"{digest}.timings"

    @contextmanager
    def _locked(self, key: EngineKey) -> Iterator[None]:
        """Holds the engine's lock; the kernel frees it when the process ends, however it ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{key.digest}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._report("another process builds this engine: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _timings_key(key: EngineKey) -> dict[str, str]:
    """Timings of kernels hold for every model on the same GPU and runtime."""
    return {"runtime": key.runtime, "gpu": key.gpu}


def _key_of(path: Path) -> EngineKey | None:
    try:
        return EngineKey(**outside.parse_json(path.read_bytes().partition(b"\n")[0])["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, key: dict[str, str], payload: bytes) -> None:
    header = {"format": _FORMAT, "key": key, "size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    atomic.write_bytes(path, json.dumps(header).encode() + b"\n" + payload)


def _read(path: Path, key: dict[str, str]) -> tuple[bytes | None, str]:
    """The payload if the file is complete and of this key; else None and the reason."""
    try:
        first, _, payload = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None, "not built yet"
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    try:
        header = outside.parse_json(first)
        found, size, sha256 = header["key"], header["size"], header["sha256"]
        known = header["format"] == _FORMAT
    except (ValueError, KeyError, TypeError):
        return None, "is no engine of ours"
    if not known or found != key:
        return None, "was built for something else"
    if len(payload) != size:
        return None, f"is truncated: {len(payload)} of {size} bytes"
    if hashlib.sha256(payload).hexdigest() != sha256:
        return None, "is corrupt"
    return payload, ""
