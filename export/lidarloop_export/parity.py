"""Does the exported graph say what the torch network says?

Two questions, so that equal scores, which any two implementations may order differently, raise no false alarm. Do the
raw head maps agree, cell by cell? And does the graph's decoding make the same boxes of its raw maps as torch's does?
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from lidarloop_core.errors import LidarloopError
from lidarloop_core.model.tensors import names
from lidarloop_export.clouds import Cloud, graph_inputs
from lidarloop_export.graph import RAW_NAMES
from lidarloop_training.models.detector import PillarDetector
from lidarloop_training.models.heads.center import Decoded, HeadOutput

TOLERANCE = 1e-4
"""Largest difference allowed: absolute for values up to 1, relative beyond."""


class ParityError(LidarloopError):
    """The exported graph does not say what the torch network says."""


@dataclass(frozen=True)
class Parity:
    """Largest differences on one cloud, absolute up to 1 and relative beyond.

    Attributes:
        cloud: its name.
        num_points, num_pillars: what entered the graph.
        raw: of the head maps, torch against ONNX Runtime.
        decoded: of boxes and scores, torch's decoding against the graph's.
    """

    cloud: str
    num_points: int
    num_pillars: int
    raw: float
    decoded: float

    def __str__(self) -> str:
        return (
            f"{self.cloud} ({self.num_points} points, {self.num_pillars} pillars): largest difference "
            f"{self.raw:.1e} in the raw maps, {self.decoded:.1e} in the boxes"
        )


def check_parity(
    detector: PillarDetector, with_raw_maps: bytes, network: bytes, clouds: Iterable[Cloud]
) -> Iterator[Parity]:
    """Compares torch and ONNX Runtime, cloud by cloud.

    Args:
        detector: in eval mode.
        with_raw_maps, network: its graph, as ``lidarloop_export.graph`` makes them.
        clouds: to compare on.

    Raises:
        ParityError: a difference above ``TOLERANCE``, or a value that is not finite.
    """
    raw_session, session = _session(with_raw_maps), _session(network)
    for cloud in clouds:
        inputs = graph_inputs(cloud.points, detector.spec)
        result = _compare(detector, raw_session, session, cloud.name, inputs)
        # Written so that NaN is refused.
        if not max(result.raw, result.decoded) <= TOLERANCE:
            raise ParityError(
                f"the exported graph differs from torch on {result}; expected at most {TOLERANCE:g}. "
                "Nothing was written: the checkpoint may hold values that are not finite, or this torch exports wrongly"
            )
        yield result


def _compare(
    detector: PillarDetector, raw_session: Any, session: Any, name: str, inputs: dict[str, npt.NDArray[Any]]
) -> Parity:
    with torch.no_grad():
        expected = detector(*(torch.from_numpy(inputs[key]) for key in names(detector.spec.inputs)))
        found = HeadOutput(*map(torch.from_numpy, raw_session.run(RAW_NAMES, inputs)))
        decoded = detector.head.decode(found)
    raw = max(difference(a.numpy(), b.numpy()) for a, b in zip(expected, found, strict=True))
    deployed = Decoded(*map(torch.from_numpy, session.run(names(detector.spec.output_tensors), inputs)))
    return Parity(name, len(inputs["points"]), len(inputs["cell"]), raw, _decoded_difference(decoded, deployed))


def difference(expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    """Largest |expected − found| / max(1, |expected|); infinite where one of the two is not finite."""
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        return float("inf")
    return float(np.max(np.abs(expected - found) / np.maximum(1, np.abs(expected)), initial=0.0))


def _decoded_difference(expected: Decoded, found: Decoded) -> float:
    """Scores in order; boxes against the nearest of the other side with the same label.

    Boxes that tie with the last one are left out: which of them made it into the K best is a matter of order.
    """
    scores = difference(expected.scores.numpy(), found.scores.numpy())
    clear = expected.scores > expected.scores[-1] + TOLERANCE
    boxes, labels = expected.boxes[clear], expected.labels[clear]
    if len(boxes) == 0:
        return scores
    apart = (boxes[:, None] - found.boxes[None]).abs() / boxes[:, None].abs().clamp(min=1)
    apart = apart.amax(dim=2).masked_fill(labels[:, None] != found.labels[None], float("inf"))
    return max(scores, float(apart.amin(dim=1).max()))


def _session(network: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
