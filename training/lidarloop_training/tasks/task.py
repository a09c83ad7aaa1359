"""The task: what the training core knows of a network, its data and its loss.

The trainer, the checkpoint, validation and logging use these types alone. A task is a dataclass of settings, which is
stored with each checkpoint, and the object it makes, which builds the network and computes the loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import SampleSource
from lidarloop_training.tasks.export_view import ExportView

E = TypeVar("E")
B = TypeVar("B", bound="Batch")

Forward = Callable[..., Any]
"""A network's forward pass: the module itself, or wrapped for several processes and for a lower precision."""


class LossTerms(NamedTuple):
    """What one batch costs.

    Attributes:
        total: scalar that is minimised.
        parts: name → scalar before weighting, for the log; the names are the same for every batch.
    """

    total: Tensor
    parts: Mapping[str, Tensor]


class ExampleKey(NamedTuple):
    """Which example, and which of its random variations.

    Attributes:
        epoch: number of the pass over the data, from 0; augmentation depends on it.
        sample: index in the data set, from 0.
    """

    epoch: int
    sample: int


class Part(NamedTuple):
    """Examples of one kind.

    Attributes:
        number: number of examples.
        share: share of each batch, in (0, 1].
    """

    number: int
    share: float


class Examples(Dataset[E], ABC, Generic[E]):
    """A torch data set of single examples, indexed by ``ExampleKey``; each depends on seed and key alone.

    Attributes:
        summary: one line for the log on what an epoch shows; empty where there is nothing to report.
    """

    summary: str = ""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What each batch is mixed of, one after another by index; by default one part."""
        return (Part(len(self), 1.0),)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, key: ExampleKey) -> E: ...

    @abstractmethod
    def token(self, sample: int) -> str:
        """The token of the sample that an example is made of, by its index in the data set, for messages."""


class Batch(Protocol):
    """Collated examples."""

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        ...


class Task(Protocol[E, B]):
    """One thing to learn. ``tasks/detection`` is the example to follow.

    Attributes:
        spec: contract with the vehicle, which decides what enters the network.
    """

    spec: ModelSpec

    def build(self) -> nn.Module:
        """A new network with random weights from torch's global generator.

        Its top-level modules are its parts, e.g. encoder, backbone and head: a checkpoint names them, and a run may
        start from some of them.

        Raises:
            ConfigError: the settings contradict one another.
        """
        ...

    def check(self, source: SampleSource, *, training: bool) -> str:
        """Whether a source has what the task learns from, known before the first step; reads one cloud at most.

        Args:
            source: samples.
            training: False for a source to validate on, which may hold nothing to learn.

        Returns:
            One line for the log on what there is to learn; empty where there is nothing to report.

        Raises:
            DatasetError: a sample lacks what the task needs, or there is nothing to learn.
        """
        ...

    def dataset(self, source: SampleSource, *, training: bool, seed: int) -> Examples[E]:
        """The examples made of a source's samples.

        Args:
            source: samples, labelled if the task needs labels.
            training: with augmentation and balancing; without both it is for validation.
            seed: decides all random choices.

        Raises:
            DatasetError: the samples lack what the task learns from.
        """
        ...

    def collate(self, examples: Sequence[E]) -> B:
        """One batch of examples, at least one."""
        ...

    def loss(self, network: Forward, batch: B) -> LossTerms:
        """Runs the network on a batch and compares.

        Args:
            network: forward pass of what ``build`` made. It may be wrapped, so nothing but a call of it is allowed.
            batch: examples on the network's device.
        """
        ...

    def export_view(self, network: nn.Module) -> ExportView:
        """What of a trained network goes into a model file.

        Raises:
            ConfigError: this task's network has nothing that runs on the vehicle.
        """
        ...


@dataclass(frozen=True)
class TaskConfig(ABC):
    """Settings of a task; a subclass adds its own and is named in ``stages/saved_task.py``.

    Attributes:
        name: stands in each checkpoint for the class.
        spec: contract with the vehicle.
    """

    name: ClassVar[str]

    spec: ModelSpec

    @abstractmethod
    def task(self) -> Task[Any, Any]:
        """The task with these settings."""
