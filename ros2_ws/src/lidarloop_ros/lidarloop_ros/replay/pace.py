"""RecordedPace: when each message of a bag is due, as it was recorded."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_PAUSE_NS = 10_000_000_000
"""A longer pause between two messages is not waited for: recording was interrupted, or the times are of two clocks."""
# What a pause longer than this is waited for is said.
_SAID_PAUSE_NS = 2_000_000_000


class RecordedPace:
    """Waits until each message of a bag is due; late ones do not delay those after them.

    Args:
        rate: 2 plays twice as fast.
        say: called with a line about each pause that is long, or is left out.
    """

    def __init__(self, rate: float, say: Callable[[str], None]) -> None:
        self._rate = rate
        self._say = say
        self._start_ns = 0
        self._first_ns: int | None = None
        self._last_ns = 0

    def elapsed_ns(self, time_ns: int) -> int:
        """Recorded time from the first message to one of ``time_ns``, pauses that are left out not counted."""
        if self._first_ns is None:
            return 0
        pause_ns = time_ns - self._last_ns
        return self._last_ns - self._first_ns + (0 if pause_ns > LONGEST_PAUSE_NS else pause_ns)

    def pass_by(self, time_ns: int) -> None:
        """Notes the time of a message, without waiting for it."""
        if self._first_ns is None:
            self._first_ns = time_ns
        elif time_ns - self._last_ns > LONGEST_PAUSE_NS:
            self._first_ns += time_ns - self._last_ns
        self._last_ns = time_ns

    def wait(self, time_ns: int, topic: str) -> None:
        """Waits until the message of ``time_ns`` is due; messages come in the order of their times.

        Args:
            time_ns: its time in the bag, nanoseconds.
            topic: its topic, which is named where a pause is long.
        """
        pause_ns = time_ns - self._last_ns
        if self._first_ns is None:
            self._start_ns = time.monotonic_ns()
        elif pause_ns > LONGEST_PAUSE_NS:
            self._say(f"the bag's times leap by {duration_text(pause_ns)} before a message on {topic}: not waited for")
        self.pass_by(time_ns)
        remaining_ns = self._start_ns + round(self.elapsed_ns(time_ns) / self._rate) - time.monotonic_ns()
        if remaining_ns > _SAID_PAUSE_NS:
            self._say(f"waiting {duration_text(remaining_ns)}: the recording pauses until a message on {topic}")
        if remaining_ns > 0:
            time.sleep(remaining_ns * 1e-9)


def duration_text(duration_ns: int) -> str:
    """A duration in the largest unit that it has, e.g. ``"54 years"``."""
    seconds = duration_ns * 1e-9
    for unit, length_s in (("years", 31_557_600), ("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
