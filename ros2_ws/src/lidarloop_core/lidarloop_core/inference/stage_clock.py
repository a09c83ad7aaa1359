"""StageClock: durations of consecutive stages."""

from __future__ import annotations

import time


class StageClock:
    """Durations of consecutive stages.

    Attributes:
        stage_ms: stage → duration, milliseconds, in order.
    """

    def __init__(self) -> None:
        self.stage_ms: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def stop(self, stage: str) -> None:
        """Ends the stage that began where the one before ended."""
        now_s = time.perf_counter()
        self.stage_ms[stage] = (now_s - self._last_s) * 1e3
        self._last_s = now_s
