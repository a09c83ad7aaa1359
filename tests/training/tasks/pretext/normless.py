"""Pre-training of a network without batch norm, whose statistics would be of one process alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lidarloop_training.tasks.pretext.network import ContrastNetwork
from lidarloop_training.tasks.pretext.task import ContrastTask, DetectorContrastConfig


@dataclass(frozen=True, kw_only=True)
class NormlessContrastConfig(DetectorContrastConfig):
    name: ClassVar[str] = "normless-contrast"

    def task(self) -> ContrastTask:
        return _NormlessTask(self)


class _NormlessTask(ContrastTask):
    def build(self) -> ContrastNetwork:
        network = super().build()
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, _BatchNorm):
                    setattr(module, name, nn.Identity())
        return network
