"""StampGate: whether a cloud's stamp can be used. A cloud whose stamp cannot is dropped, counted and warned of.

StampCourse: whether stamps go on, start over, or are of two clocks at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

# Synchronised clocks of a LiDAR and a computer differ by less.
FUTURE_TOLERANCE_NS = 100_000_000
# Stamps further back than this belong to another clock: a recording is played without /clock, or the LiDAR counts from
# its own start. The clouds' age is unknown, so they are accepted, and the diagnostics warn.
OTHER_CLOCK_NS = 86_400 * 1_000_000_000

# Stamps that go back by more than this are a recording that starts over, not jitter.
TIME_JUMP_NS = 500_000_000
# A course of stamps that was left goes on if the next stamp lies within this after its last.
_GOES_ON_NS = 5_000_000_000

Course = Literal["on", "back", "other"]
"""The stamp goes on; it goes back, to another time; it is of the other one of two clocks that take turns."""


class StampCourse:
    """Follows the stamps of one topic. Two publishers on clocks far apart go back and forth, and start nothing over.

    Attributes:
        newest_ns: newest stamp of the present course, nanoseconds; 0 before the first.
        apart_s: how far the two clocks are apart, seconds; 0.0 while there is one.
    """

    def __init__(self) -> None:
        self.newest_ns = 0
        self.apart_s = 0.0
        self._left_ns: int | None = None

    def problem(self, topic: str) -> str:
        """What to say of two clocks on a topic, with the remedy; "" while there is one."""
        if not self.apart_s:
            return ""
        return f"{topic} has messages of two clocks, {self.apart_s:.3f} s apart: two publishers? Stop one of them"

    def follow(self, stamp_ns: int) -> Course:
        """Takes the next stamp."""
        left_ns, is_before = self._left_ns, stamp_ns < self.newest_ns - TIME_JUMP_NS
        jumps = is_before or stamp_ns > self.newest_ns + TIME_JUMP_NS
        # A recording that starts over ends where it was left at the latest: it never goes on from there.
        if jumps and left_ns is not None and left_ns < stamp_ns <= left_ns + _GOES_ON_NS:
            self.apart_s = abs(stamp_ns - self.newest_ns) * 1e-9
            self._left_ns, self.newest_ns = self.newest_ns, stamp_ns
            return "other"
        if is_before:
            self._left_ns, self.newest_ns, self.apart_s = self.newest_ns, stamp_ns, 0.0
            return "back"
        self.newest_ns = max(stamp_ns, self.newest_ns)
        return "on"


class StampGate:
    """Judges each cloud's stamp against the clock and the cloud before.

    Args:
        now_ns: gives the node's time in nanoseconds; 0 with simulated time while /clock has no publisher.
        max_age_s: age in seconds above which clouds are dropped, as are those from the future; 0: ages are not checked.
    """

    def __init__(self, now_ns: Callable[[], int], *, max_age_s: float) -> None:
        self._now_ns = now_ns
        self._max_age_ns = round(max_age_s * 1e9)
        self._last_ns: int | None = None
        self._clock_problem = ""

    @property
    def clock_problem(self) -> str:
        """Why the ages of clouds are unknown, or ""."""
        return self._clock_problem

    def reset(self) -> None:
        """Starts over, at activation."""
        self._last_ns = None
        self._clock_problem = ""

    def refusal(self, stamp_ns: int) -> str:
        """Why the cloud is to be dropped, or ""."""
        if stamp_ns == 0:
            return "stamp is 0: the driver does not stamp its clouds"
        if stamp_ns == self._last_ns:
            return f"duplicate: the cloud before had the same stamp, {stamp_ns * 1e-9:.3f} s"
        if reason := self._judge_age(stamp_ns):
            return reason
        self._last_ns = stamp_ns
        return ""

    def age_ms(self, stamp_ns: int) -> float | None:
        """A cloud's age in milliseconds; None if its stamp is not of the node's clock."""
        return None if self._clock_problem or not self._max_age_ns else (self._now_ns() - stamp_ns) * 1e-6

    def _judge_age(self, stamp_ns: int) -> str:
        if not self._max_age_ns:
            return ""
        now_ns = self._now_ns()
        age_ns = now_ns - stamp_ns
        if now_ns == 0:
            self._clock_problem = "use_sim_time is true, but /clock has no publisher: ages of clouds are unknown"
        elif age_ns > OTHER_CLOCK_NS:
            self._clock_problem = (
                f"stamps are {age_ns / OTHER_CLOCK_NS:.0f} days behind this computer's clock: ages of clouds are "
                "unknown. Play recordings with --clock and use_sim_time:=true, or synchronise the LiDAR by PTP, or set "
                "max_age_s to 0"
            )
        else:
            self._clock_problem = ""
            return self._stale_or_future(age_ns)
        return ""

    def _stale_or_future(self, age_ns: int) -> str:
        if age_ns > self._max_age_ns:
            return (
                f"stale: stamped {age_ns * 1e-9:.3f} s ago, max_age_s is {self._max_age_ns * 1e-9:g}. Check the "
                "driver's delay and that the LiDAR's clock is synchronised"
            )
        if age_ns < -FUTURE_TOLERANCE_NS:
            return (
                f"from the future: stamped {-age_ns * 1e-9:.3f} s ahead of this computer's clock. Synchronise the "
                "LiDAR's clock, or use_sim_time if this is a recording"
            )
        return ""
