"""How busy the machine was with other work while something was measured: a latency is worth little without it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidarloop_core.machine import load_1min

# Other work that takes more than this share of the machine's cores lengthens latencies.
BUSY_SHARE = 0.15


@dataclass(frozen=True)
class MachineLoad:
    """What a measurement ran beside.

    Attributes:
        num_cores: number of the machine's cores.
        others: cores that other processes took on average; None where the kernel does not give it.
        load_average: mean number of running processes in the last minute, those measured included; None where unknown.
    """

    num_cores: int
    others: float | None
    load_average: float | None

    @property
    def is_busy(self) -> bool:
        """Whether other work lengthened what was measured."""
        if self.others is not None:
            return self.others > BUSY_SHARE * self.num_cores
        return self.load_average is not None and self.load_average > self.num_cores

    def __str__(self) -> str:
        others = "" if self.others is None else f"other processes took {self.others:.1f} of {self.num_cores} cores, "
        average = "unknown" if self.load_average is None else f"{self.load_average:.1f}"
        return f"the machine was {'busy' if self.is_busy else 'calm'} ({others}load average {average})"

    def as_json(self) -> dict[str, Any]:
        return {
            "busy": self.is_busy,
            "cores": self.num_cores,
            "other_processes_cores": None if self.others is None else round(self.others, 2),
            "load_average_1min": None if self.load_average is None else round(self.load_average, 2),
        }


class LoadMeter:
    """Measures the machine's load from its construction on.

    Args:
        pids: the processes that are measured, beside this one.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._began_s = time.monotonic()
        self._busy_s, self._own_s = _busy_s(), self._used_s()

    def stop(self) -> MachineLoad:
        """The load since the construction; the processes must still be there."""
        busy_s, elapsed_s = _busy_s(), time.monotonic() - self._began_s
        others = None
        if busy_s is not None and self._busy_s is not None and elapsed_s > 0:
            others = max(0.0, (busy_s - self._busy_s - (self._used_s() - self._own_s)) / elapsed_s)
        return MachineLoad(os.cpu_count() or 1, others, load_1min())

    def _used_s(self) -> float:
        """Processor time of the measured processes, seconds."""
        own = os.times()
        return own.user + own.system + sum(_process_s(pid) for pid in self._pids)


def _busy_s() -> float | None:
    """Processor time that all cores together have spent on work since the start of the machine, seconds."""
    with suppress(OSError, ValueError, IndexError):
        user, nice, system, _idle, _wait, irq, soft_irq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
        return (user + nice + system + irq + soft_irq) / os.sysconf("SC_CLK_TCK")
    return None


def _process_s(pid: int) -> float:
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
