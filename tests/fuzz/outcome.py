"""What one hostile input leads to: a result or one clear line, in time, in memory, and nowhere but where asked."""

from __future__ import annotations

import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Literal, get_args

from lidarloop_core.errors import LidarloopError
from tests.fuzz.guard import Guard, Sandbox

Kind = Literal["result", "refusal", "traceback", "hang", "outside", "memory"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FAULTS: tuple[Kind, ...] = ("traceback", "hang", "outside", "memory")

TIME_LIMIT_S = 60.0
"""Of the wall clock: what waits on a pipe uses no other. Long, for the machine may do other things, too."""
PROCESSOR_LIMIT_S = 20.0
"""Of the processor, all threads together."""
MEMORY_LIMIT_MB = 1024
MAX_LINE = 2000

MakeCase = Callable[[Random, Path], Callable[[], object]]
"""Writes one hostile input to ``in`` of the folder and gives what reads it, which may write to ``out`` alone."""


@dataclass(frozen=True)
class Outcome:
    """What one input led to.

    Attributes:
        index: number of the input.
        kind: what it was.
        seconds: how long it took.
        peak_mb: memory used on top of what the process had, megabytes.
        detail: the refusal's line, or what went wrong and where.
    """

    index: int
    kind: Kind
    seconds: float = 0.0
    peak_mb: float = 0.0
    detail: str = ""


class Hang(BaseException):
    """The time is over. No ``except Exception`` catches it."""


def random_of(seed: int, boundary: str, index: int) -> Random:
    """The choices of one input: it can be made again alone."""
    return Random(f"{seed}/{boundary}/{index}")


def outcome_of(index: int, make: MakeCase, rng: Random, sandbox: Sandbox, *, show: bool = False) -> Outcome:
    """Makes an input and has it read.

    Args:
        index: number of the input.
        make: makes it.
        rng: its choices.
        sandbox: of this process.
        show: whether to print the traceback of an error.
    """
    with sandbox.case(index) as folder:
        try:
            read = make(rng, folder)
        except Exception as error:
            return Outcome(index, "traceback", detail=f"the input could not be made: {error!r} {_where(error)}")
        before_mb = _reset_peak_mb()
        start_s = time.perf_counter()
        with sandbox.watching(folder):
            kind, detail = _run(read, show)
        seconds, peak_mb = time.perf_counter() - start_s, max(0.0, _peak_mb() - before_mb)
    if caught := Guard.of_process().caught:
        kind, detail = "outside", "; ".join(caught)
    elif kind in ("result", "refusal") and peak_mb > MEMORY_LIMIT_MB:
        kind, detail = "memory", f"{peak_mb:.0f} MB; expected {MEMORY_LIMIT_MB} at most ({detail})"
    return Outcome(index, kind, seconds, peak_mb, detail)


def _run(read: Callable[[], object], show: bool) -> tuple[Kind, str]:
    try:
        with warnings.catch_warnings(), _time_limits():
            warnings.simplefilter("ignore")
            read()
        return "result", ""
    except LidarloopError as error:
        line = str(error)
        if "\n" in line or not line.strip() or len(line) > MAX_LINE:
            return "traceback", f"no clear line, {len(line)} characters: {line[:200]!r} {_where(error)}"
        return "refusal", line
    except Hang as error:
        return "hang", f"still running after {error} {_where(error)}"
    except MemoryError as error:
        return "memory", f"MemoryError {_where(error)}"
    except BaseException as error:  # whatever it is, it would have been a traceback
        if show:
            traceback.print_exc()
        return "traceback", f"{type(error).__name__}: {str(error)[:200]} {_where(error)}"


def _where(error: BaseException) -> str:
    """The innermost line of ours that the error came through."""
    frames = list(traceback.extract_tb(error.__traceback__))
    ours = [frame for frame in frames if "/lidarloop_" in frame.filename or "/fuzz/" in frame.filename]
    ours = [frame for frame in ours if not frame.filename.endswith(("outcome.py", "guard.py"))]
    last = (ours or frames)[-1:]
    return "".join(f"({'/'.join(Path(f.filename).parts[-3:])}:{f.lineno})" for f in last)


@contextmanager
def _time_limits() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        is_wall = number == signal.SIGALRM
        raise Hang(f"{TIME_LIMIT_S:g} s" if is_wall else f"{PROCESSOR_LIMIT_S:g} s of the processor")

    before = [signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)]
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT_S)
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in zip((signal.SIGALRM, signal.SIGPROF), before, strict=True):
            signal.signal(number, handler)


def _reset_peak_mb() -> float:
    """Sets the process's peak back to what it has now, where Linux allows it, and gives that in megabytes."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb() -> float:
    try:
        status = Path("/proc/self/status").read_text()
        return float(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
