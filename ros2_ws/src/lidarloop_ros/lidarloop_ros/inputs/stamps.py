"""StampGate: whether a cloud's stamp lets it in. One that does not is dropped, counted and warned of, never guessed."""

from __future__ import annotations

from collections.abc import Callable

# Clocks of a LiDAR and a computer that are synchronised at all differ by less.
FUTURE_TOLERANCE_NS = 100_000_000
# Stamps further back than this are no late clouds: a recording is played without /clock, or the LiDAR counts from its
# own start. Their age cannot be known, so they are let in, and the diagnostics go on saying so.
OTHER_CLOCK_NS = 86_400 * 1_000_000_000


class StampGate:
    """Judges each cloud's stamp against the clock and the cloud before.

    Args:
        now_ns: the node's time; 0 while simulated time is asked for and nobody publishes /clock.
        max_age_s: clouds older than this are dropped, as are those from the future; 0: the clock is not asked.
    """

    def __init__(self, now_ns: Callable[[], int], *, max_age_s: float) -> None:
        self._now_ns = now_ns
        self._max_age_ns = round(max_age_s * 1e9)
        self._last_ns: int | None = None
        self._clock_problem = ""

    @property
    def clock_problem(self) -> str:
        """Why the age of clouds is unknown, or ""."""
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
        """How old a cloud is now; None if its clock is not ours."""
        return None if self._clock_problem or not self._max_age_ns else (self._now_ns() - stamp_ns) * 1e-6

    def _judge_age(self, stamp_ns: int) -> str:
        if not self._max_age_ns:
            return ""
        now_ns = self._now_ns()
        age_ns = now_ns - stamp_ns
        if now_ns == 0:
            self._clock_problem = "use_sim_time is true, but nobody publishes /clock: ages of clouds are unknown"
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
