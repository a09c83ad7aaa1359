"""Inputs are read in processes of their own: one that hangs in C code, or dies, is replaced and counted."""

from __future__ import annotations

import multiprocessing as mp
import os
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import cast

from tests.fuzz.guard import sandbox
from tests.fuzz.outcome import TIME_LIMIT_S, MakeCase, Outcome, outcome_of, random_of

_SILENCE_S = 2 * TIME_LIMIT_S
_WARM_UP_S = 600.0  # imports, compiling and making the valid inputs, on a busy machine
_ADDRESS_SPACE = 4 << 30
"""Bytes beyond what the libraries have taken: an input that wants more gets a MemoryError."""


@dataclass(frozen=True)
class Batch:
    """Inputs ``first`` … ``stop`` − 1 of a boundary.

    Attributes:
        boundary: module that makes and reads them.
        seed: seed of all.
        first, stop: their numbers.
    """

    boundary: str
    seed: int
    first: int
    stop: int


def make_case(boundary: str) -> MakeCase:
    """The function ``case`` of a boundary's module; a name with dots is the module's own."""
    module = boundary if "." in boundary else f"tests.fuzz.boundaries.{boundary}"
    return cast(MakeCase, import_module(module).case)


def run_all(batches: Sequence[Batch], num_workers: int) -> Iterator[tuple[str, Outcome]]:
    """(boundary, outcome) of all inputs, as they come."""
    waiting = list(batches)[::-1]
    busy: dict[Connection, _Worker] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < num_workers:
                worker = _Worker(waiting.pop())
                busy[worker.connection] = worker
            for ready in wait(list(busy), timeout=1.0):
                worker = busy[cast(Connection, ready)]
                yield from ((worker.batch.boundary, outcome) for outcome in worker.received())
            for connection in [key for key, worker in busy.items() if worker.is_over]:
                worker = busy.pop(connection)
                if (lost := worker.close()) is not None:
                    yield worker.batch.boundary, lost
                    waiting.append(replace(worker.batch, first=lost.index + 1))
    finally:
        for worker in busy.values():
            worker.close()


class _Worker:
    """A process that works on one batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.connection, theirs = mp.Pipe(duplex=False)
        self._process = mp.get_context("spawn").Process(target=_work, args=(batch, theirs))
        self._process.start()
        theirs.close()
        self._next = batch.first
        self._has_ended = False
        self._heard_s = time.monotonic() + _WARM_UP_S

    @property
    def is_over(self) -> bool:
        return self._has_ended or self._is_silent

    @property
    def _is_silent(self) -> bool:
        return time.monotonic() - self._heard_s > _SILENCE_S

    def received(self) -> Iterator[Outcome]:
        """The outcome that has come, if any; the end of the pipe is the end of the process."""
        try:
            outcome: Outcome | None = self.connection.recv()
        except (EOFError, OSError):
            self._has_ended = True
            return
        self._heard_s = time.monotonic()
        if outcome is not None:
            self._next = outcome.index + 1
            yield outcome

    def close(self) -> Outcome | None:
        """Ends the process; the outcome of the input that it was at, if it had not finished."""
        if not self._has_ended:
            self._process.kill()
        self._process.join()
        self.connection.close()
        if self._next >= self.batch.stop:
            return None
        if self._has_ended:
            return Outcome(self._next, "traceback", detail=f"the process died with exit code {self._process.exitcode}")
        return Outcome(self._next, "hang", _SILENCE_S, detail=f"no sign of life for {_SILENCE_S:g} s")


def _work(batch: Batch, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    make = make_case(batch.boundary)
    with Path(os.devnull).open("w") as nowhere:  # what libraries in C print, too
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    with sandbox() as place, connection:
        outcome_of(-1, make, random_of(batch.seed, batch.boundary, -1), place)  # imports and compiles
        connection.send(None)
        _limit_memory()
        for index in range(batch.first, batch.stop):
            connection.send(outcome_of(index, make, random_of(batch.seed, batch.boundary, index), place))


def _limit_memory() -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _ADDRESS_SPACE, resource.RLIM_INFINITY))
