"""Does the exported graph compute what the torch network computes?

Two questions, so that equal scores, which any two implementations may order differently, raise no false alarm. Do the
raw maps agree, value by value? And does the graph decode its raw maps to the same outputs as torch does?
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnxruntime
import torch

from lidarloop_core.errors import LidarloopError
from lidarloop_core.model.tensors import names, sizes_of
from lidarloop_export.clouds import Cloud, graph_inputs
from lidarloop_training.tasks.export_view import ExportView, largest_difference

TOLERANCE = 1e-4
"""Largest difference allowed: absolute for values up to 1, relative beyond."""


class ParityError(LidarloopError):
    """The exported graph does not compute what the torch network computes."""


@dataclass(frozen=True)
class Parity:
    """Largest differences on one cloud, absolute up to 1 and relative beyond.

    Attributes:
        cloud: the cloud's name.
        sizes: name of each open dimension of the graph → its length.
        raw: largest difference in the raw maps, torch against ONNX Runtime.
        decoded: largest difference in the outputs, torch's decoding against the graph's.
    """

    cloud: str
    sizes: dict[str, int]
    raw: float
    decoded: float

    def __str__(self) -> str:
        sizes = ", ".join(f"{size} {name.removeprefix('num_')}" for name, size in self.sizes.items())
        return (
            f"{self.cloud} ({sizes}): largest difference {self.raw:.1e} in the raw maps, {self.decoded:.1e} in the "
            "decoded outputs"
        )


def check_parity(view: ExportView, with_raw_maps: bytes, network: bytes, clouds: Iterable[Cloud]) -> Iterator[Parity]:
    """Compares torch and ONNX Runtime, cloud by cloud.

    Args:
        view: deployable part of a network, in eval mode.
        with_raw_maps: its graph with raw maps, as ``lidarloop_export.graph`` makes it.
        network: its graph without them.
        clouds: clouds to compare on.

    Raises:
        ParityError: a difference above ``TOLERANCE``, or a value that is not finite.
    """
    raw_session, session = _session(with_raw_maps), _session(network)
    for cloud in clouds:
        inputs = graph_inputs(cloud.points, view.spec)
        result = _compare(view, raw_session, session, cloud.name, inputs)
        # Written so that NaN is refused.
        if not max(result.raw, result.decoded) <= TOLERANCE:
            raise ParityError(
                f"the exported graph differs from torch on {result}; expected at most {TOLERANCE:g}. "
                "Nothing was written: the checkpoint may hold values that are not finite, or this torch exports wrongly"
            )
        yield result


def _compare(
    view: ExportView, raw_session: Any, session: Any, name: str, inputs: dict[str, npt.NDArray[Any]]
) -> Parity:
    with torch.no_grad():
        expected = view.raw(*(torch.from_numpy(inputs[key]) for key in names(view.spec.inputs)))
        found = [torch.from_numpy(array) for array in raw_session.run(view.raw_names, inputs)]
        decoded = view.decode(*found)
    deployed = [torch.from_numpy(array) for array in session.run(names(view.spec.output_tensors), inputs)]
    return Parity(
        name,
        sizes_of(view.spec.inputs, inputs),
        raw=max(largest_difference(a, b) for a, b in zip(expected, found, strict=True)),
        decoded=view.difference(decoded, deployed, TOLERANCE),
    )


def _session(network: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
