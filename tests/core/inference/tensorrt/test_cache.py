from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lidarloop_core.inference.tensorrt.cache import EngineCache, EngineKey, default_folder

KEY = EngineKey("a" * 64, "tensorrt 10.3.0", "Orin sm_87", "fp16", "points (1, 5) (2, 5)")


class Builder:
    """Counts its builds; an engine names what it is for, a timing cache how often it was used."""

    def __init__(self, engine: bytes = b"engine") -> None:
        self.engine = engine
        self.given: list[bytes] = []

    def __call__(self, timings: bytes) -> tuple[bytes, bytes]:
        self.given.append(timings)
        return self.engine, timings + b"t"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, said: list[str]) -> EngineCache:
    return EngineCache(tmp_path / "engines", said.append)


def files(cache: EngineCache) -> list[str]:
    return sorted(path.suffix for path in cache.folder.iterdir())


def test_built_once_then_read(cache: EngineCache, said: list[str]) -> None:
    build = Builder()
    assert cache.get(KEY) is None
    assert cache.get_or_build(KEY, build) == b"engine"
    assert cache.get_or_build(KEY, build) == cache.get(KEY) == b"engine"
    assert len(build.given) == 1
    assert files(cache) == [".engine", ".lock", ".timings"]
    assert "building the engine for Orin sm_87, tensorrt 10.3.0, fp16" in said[-1] or any(
        "building the engine" in line for line in said
    )


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(EngineKey)])
def test_each_field_makes_another_engine(cache: EngineCache, field: str) -> None:
    cache.get_or_build(KEY, Builder(b"old"))
    other = dataclasses.replace(KEY, **{field: getattr(KEY, field) + "x"})
    assert cache.get_or_build(other, Builder(b"new")) == b"new"
    assert cache.get_or_build(KEY, Builder(b"never")) == b"old"


@pytest.mark.parametrize("field", ["gpu", "runtime"])
def test_an_engine_copied_from_another_vehicle_is_not_loaded(cache: EngineCache, said: list[str], field: str) -> None:
    """Renamed to what this vehicle looks for: its first line gives it away."""
    foreign = dataclasses.replace(KEY, **{field: "another"})
    cache.get_or_build(foreign, Builder(b"foreign"))
    cache.path(foreign).rename(cache.path(KEY))
    assert cache.get_or_build(KEY, Builder(b"own")) == b"own"
    assert any("was built for something else" in line for line in said)


@pytest.mark.parametrize("cut", [0, 1, 40, -1, -3])
def test_a_truncated_engine_is_rebuilt(cache: EngineCache, cut: int) -> None:
    cache.get_or_build(KEY, Builder(b"engine" * 9))
    path = cache.path(KEY)
    path.write_bytes(path.read_bytes()[:cut])
    assert cache.get(KEY) is None
    assert cache.get_or_build(KEY, Builder(b"new")) == b"new"
    assert cache.get(KEY) == b"new"


def test_every_flipped_bit_is_noticed(cache: EngineCache) -> None:
    cache.get_or_build(KEY, Builder(b"engine"))
    path = cache.path(KEY)
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in (0, 5):
            mangled = bytearray(whole)
            mangled[position] ^= 1 << bit
            path.write_bytes(bytes(mangled))
            assert cache.get(KEY) in (None, b"engine")
            if position > whole.index(b"\n"):
                assert cache.get(KEY) is None
    path.write_bytes(b"")
    assert cache.get(KEY) is None


@pytest.mark.parametrize(
    "junk",
    [b"", b"\n", b"[]\n", b'{"format": 1}\n', b"\xff\xfe\n", b"[" * 100_000, b"ftrt\0\0\0"],
    ids=lambda junk: repr(junk[:9]),
)
def test_other_files_are_no_engines(cache: EngineCache, junk: bytes) -> None:
    cache.folder.mkdir(parents=True)
    cache.path(KEY).write_bytes(junk)
    assert cache.get_or_build(KEY, Builder()) == b"engine"


def test_a_file_of_an_older_format_is_rebuilt(cache: EngineCache) -> None:
    cache.get_or_build(KEY, Builder(b"old"))
    head, _, body = cache.path(KEY).read_bytes().partition(b"\n")
    header = json.loads(head) | {"format": "lidarloop engine 0"}
    cache.path(KEY).write_bytes(json.dumps(header).encode() + b"\n" + body)
    assert cache.get_or_build(KEY, Builder(b"new")) == b"new"


def test_the_timing_cache_is_kept_and_shared_by_models(cache: EngineCache) -> None:
    first, second = Builder(), Builder()
    cache.get_or_build(KEY, first)
    cache.get_or_build(dataclasses.replace(KEY, model_sha256="b" * 64), second)
    assert (first.given, second.given) == ([b""], [b"t"])
    third = Builder()
    cache.get_or_build(dataclasses.replace(KEY, gpu="another"), third)
    assert third.given == [b""]


def test_a_mangled_timing_cache_is_not_used(cache: EngineCache) -> None:
    cache.get_or_build(KEY, Builder())
    next(cache.folder.glob("*.timings")).write_bytes(b"mangled")
    build = Builder()
    cache.get_or_build(dataclasses.replace(KEY, precision="int8"), build)
    assert build.given == [b""]


def test_a_build_that_fails_leaves_nothing(cache: EngineCache) -> None:
    def fails(_: bytes) -> tuple[bytes, bytes]:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        cache.get_or_build(KEY, fails)
    assert files(cache) == [".lock"]
    assert cache.get_or_build(KEY, Builder()) == b"engine"


def test_of_several_builders_one_builds(tmp_path: Path) -> None:
    """Threads that start together; a lock on an open file holds between threads as it does between processes."""
    build, together = Builder(), threading.Barrier(4)
    said: list[str] = []
    found: list[bytes] = []

    def start() -> None:
        together.wait()
        found.append(EngineCache(tmp_path, said.append).get_or_build(KEY, build))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found == [b"engine"] * 4
    assert len(build.given) == 1


CHILD = """
import os, sys
from pathlib import Path
from lidarloop_core.inference.tensorrt import cache as engine_cache
from lidarloop_core.io import atomic
from tests.core.inference.tensorrt.test_cache import KEY

if sys.argv[2] == "before-rename":
    real = os.fsync
    def stop(descriptor):  # the temporary file is written and about to be renamed
        print("here", flush=True)
        sys.stdin.read()
    atomic.os.fsync = stop
def build(_):
    if sys.argv[2] == "while-building":
        print("here", flush=True)
        sys.stdin.read()
    return b"child's", b""
engine_cache.EngineCache(Path(sys.argv[1])).get_or_build(KEY, build)
"""


@pytest.mark.parametrize("moment", ["while-building", "before-rename"])
def test_a_builder_that_is_killed_leaves_nothing_that_counts(repository: Path, tmp_path: Path, moment: str) -> None:
    """Its lock ends with it: who waits for it builds then."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), moment],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"here\n"
    said: list[str] = []
    waits = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if "waiting" in line:
            waits.set()

    cache, found = EngineCache(tmp_path, say), []
    assert cache.get(KEY) is None
    other = threading.Thread(target=lambda: found.append(cache.get_or_build(KEY, Builder(b"mine"))))
    other.start()
    assert waits.wait(timeout=60)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(timeout=60)
    other.join(timeout=60)
    assert found == [b"mine"]
    assert cache.get(KEY) == b"mine"
    assert not list(tmp_path.glob(".*"))  # the killed one's temporary file is swept


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LIDARLOOP_ENGINE_CACHE", raising=False)
    assert default_folder() == tmp_path / "lidarloop" / "engines"
    monkeypatch.setenv("LIDARLOOP_ENGINE_CACHE", str(tmp_path / "here"))
    assert default_folder() == tmp_path / "here"
