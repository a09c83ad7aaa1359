"""Stopping before a value that is not finite reaches the weights, with the samples that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lidarloop_core.errors import ConfigError, DatasetError, LidarloopError
from lidarloop_training.stages.loading import load_batch
from lidarloop_training.tasks.task import ExampleKey, Examples, LossTerms, Task

LossOf = Callable[[Any], LossTerms]
"""Batch on the device → its loss, with gradients."""


def all_finite(*values: Tensor) -> Tensor:
    """Scalar bool: whether all the scalars are finite."""
    return torch.stack([value.detach().float() for value in values]).isfinite().all()


def cause_of_not_finite(
    task: Task[Any, Any],
    examples: Examples[Any],
    keys: Sequence[ExampleKey],
    network: nn.Module,
    loss_of: LossOf,
    *,
    step: int,
) -> LidarloopError:
    """The error for a batch whose loss or gradient is not finite: the samples that give one alone, or the batch.

    Args:
        task: the task.
        examples: where the batch came from.
        keys: its examples.
        network: the network before the step; its gradients are overwritten.
        loss_of: one batch's loss.
        step: number of the step, from 1.

    Returns:
        DatasetError if single samples are the cause, ConfigError otherwise.
    """
    device = next(network.parameters()).device
    alone = [
        examples.token(key.sample)
        for key in keys
        if not _is_finite_alone(network, loss_of, load_batch(task, examples, [key]).to(device))
    ]
    kept = "the checkpoints before it are kept"
    if alone:
        return DatasetError(
            f"step {step}: loss or gradient is not finite for sample {', '.join(alone)}; expected numbers: check the "
            f"points and labels of {'it' if len(alone) == 1 else 'them'}; {kept}"
        )
    tokens = ", ".join(examples.token(key.sample) for key in keys)
    return ConfigError(
        f"step {step}: loss or gradient is not finite for samples {tokens} together, though for none alone; expected "
        f"numbers: lower --optimisation.schedule.peak-learning-rate and start again from the last checkpoint; {kept}"
    )


def _is_finite_alone(network: nn.Module, loss_of: LossOf, batch: Any) -> bool:
    network.zero_grad()
    loss = loss_of(batch).total
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return bool(all_finite(loss, *(gradient.norm() for gradient in gradients)))
