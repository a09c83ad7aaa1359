"""The latency record that ``lidarloop replay`` writes beside its detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import outside

_MOST_BYTES = 1 << 28

DEADLINE_MS = 100.0  # one revolution of a 10 Hz LiDAR


@dataclass(frozen=True)
class Latency:
    """How a node kept up with a replayed bag.

    Attributes:
        latency_ms: stamp → publish, milliseconds: ``p50``, ``p99``, ``p99_9``, ``max``; None where nothing was
            answered.
        samples_ms: stamp → publish of each answered cloud, milliseconds.
        stage_ms: stage → the same statistics, milliseconds.
        frames_sent: number of clouds sent.
        frames_detected: number of clouds answered.
        frames_dropped: number of clouds without an answer.
        model_sha256: hash of the model file that ran; None where not recorded.
        deadline_misses: number of answers later than ``DEADLINE_MS``; None where not recorded.
        rate_hz: clouds per second sent; None where not recorded.
        rss_mb: memory of the node process, megabytes; None where not recorded.
        conditions: pace, part of the drive and load of the machine that it was measured under; "" where not recorded.
    """

    latency_ms: Mapping[str, float | None]
    samples_ms: Sequence[float]
    stage_ms: Mapping[str, Mapping[str, float | None]]
    frames_sent: int
    frames_detected: int
    frames_dropped: int
    model_sha256: str | None = None
    deadline_misses: int | None = None
    rate_hz: float | None = None
    rss_mb: float | None = None
    conditions: str = ""


def read_latency(path: Path) -> Latency:
    """Reads ``latency.json``.

    Raises:
        DatasetError: the file is missing or no latency record.
    """
    try:
        record: dict[str, Any] = outside.read_json(path, _MOST_BYTES)
        latency_ms = dict(record["latency_ms"])
        samples_ms = latency_ms.pop("samples", [])
        return Latency(
            latency_ms=latency_ms,
            samples_ms=[float(sample) for sample in samples_ms],
            stage_ms={stage: _statistics(value) for stage, value in record.get("stage_ms", {}).items()},
            frames_sent=int(record["frames_sent"]),
            frames_detected=int(record["frames_detected"]),
            frames_dropped=int(record["frames_dropped"]),
            model_sha256=record.get("model_sha256"),
            deadline_misses=record.get("deadline_misses"),
            rate_hz=record.get("rate_hz"),
            rss_mb=record.get("rss_mb"),
            conditions=str(record.get("conditions", "")),
        )
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); expected the latency.json of a replay") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"{path} is no latency record ({type(error).__name__}: {error}); expected what `lidarloop replay` writes"
        ) from None


def _statistics(value: Mapping[str, float | None]) -> dict[str, float | None]:
    return {key: entry for key, entry in value.items() if key != "samples"}
