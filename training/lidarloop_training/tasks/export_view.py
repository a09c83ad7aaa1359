"""The deployable part of a network: tensors of the spec in, raw maps, decoded outputs of the spec out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from lidarloop_core.model.spec import ModelSpec


class ExportView(nn.Module, ABC):
    """A network as the vehicle runs it, in two steps that can be checked apart.

    Attributes:
        spec: contract with the vehicle; the tensors of ``raw`` are its inputs, those of ``decode`` its outputs.
        raw_names: one name for each tensor that ``raw`` returns. Unlike the K best of them, raw maps have no order in
            which two runtimes could differ.
    """

    raw_names: ClassVar[tuple[str, ...]]

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.network = network

    @abstractmethod
    def raw(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The network's maps of one cloud.

        Args:
            inputs: one tensor for each input of the spec, in its order, shaped like there.

        Returns:
            One tensor for each of ``raw_names``: maps are (1, …), logits (N, classes).
        """

    @abstractmethod
    def decode(self, *raw: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the spec, in its order and shaped like there, from the maps that ``raw`` returned."""

    @abstractmethod
    def difference(self, expected: Sequence[Tensor], found: Sequence[Tensor], tolerance: float) -> float:
        """How far two runtimes' decoded outputs of one cloud are apart.

        Args:
            expected: outputs of ``decode``, shaped like there.
            found: outputs of another runtime, same shapes.
            tolerance: scores that differ by less count as equal, so that their order may differ.

        Returns:
            Largest difference, absolute up to 1 and relative beyond; infinite where a value is not finite.
        """

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the spec, then the raw tensors, maps (1, …); inputs and shapes as in ``raw`` and ``decode``."""
        raw = self.raw(*inputs)
        return (*self.decode(*raw), *raw)


def largest_difference(expected: Tensor, found: Tensor) -> float:
    """Largest |expected − found| / max(1, |expected|) of two tensors of the same shape.

    Returns:
        The value, 0 for empty tensors; infinite where one of the two is not finite.
    """
    if not (expected.isfinite().all() and found.isfinite().all()):
        return float("inf")
    if expected.numel() == 0:
        return 0.0
    return float(((expected - found).abs() / expected.abs().clamp(min=1)).max())
