"""Starting from a model file: its weights, unfolded into a network that can be trained on.

The export folds each batch norm into the layer before it. Taken back, the norm does nothing at first: it has mean 0 and
a variance that its scale cancels, and the folded bias. In evaluation the network then computes what the file does. In
training a norm takes the statistics of the batch in place of its own, which such a norm does not have; so these are
measured on training samples (``measure_norms``), and scale and bias are set such that evaluation stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lidarloop_core.errors import ConfigError
from lidarloop_core.io import regular_file
from lidarloop_core.model.model_file import MAX_BYTES, PRECISION_KEY, read_model
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.models.sparse.convolution import SparseConv3d

SUFFIX = ".onnx"
"""What ``init_from`` ends with where it is a model file."""

_FOLDED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, SparseConv3d)


def read_weights(path: Path) -> tuple[ModelSpec, dict[str, Tensor]]:
    """Spec and stored tensors of a model file as `lidarloop export` writes it.

    Returns:
        The spec, and the tensors by their names without the prefix of the exported module.

    Raises:
        ModelFileError: the file is missing, foreign or damaged.
        ConfigError: onnx is not installed, or the file was made by `lidarloop optimise`, whose weights are others.
    """
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError:
        raise ConfigError(
            f"--init-from received {path}, but onnx is not installed; expected it to read a model file: "
            "pip install lidarloop[export]"
        ) from None
    file = read_model(path)
    model = onnx.load_from_string(file.onnx_bytes)
    if any(entry.key == PRECISION_KEY for entry in model.metadata_props):
        raise ConfigError(
            f"--init-from received {path}, which `lidarloop optimise` made; expected the exported file it was made from"
        )
    stored = {i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in model.graph.initializer}
    stored |= _nameless_weights(model.graph.node, stored)
    return file.spec, {name.partition(".")[2]: value for name, value in stored.items() if "." in name}


def _nameless_weights(nodes: Iterable[Any], stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of sparse convolutions that the exporter made nameless matrices of; their biases keep their names."""
    products = (tuple(node.input) for node in nodes if node.op_type == "Gemm" and len(node.input) == 3)
    return {
        f"{bias.removesuffix('.bias')}.weight": stored[weight]
        for _, weight, bias in products
        if bias.endswith(".conv.bias") and weight in stored and "." not in weight
    }


def unfolded(stored: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The stored tensors under the names of the network's state, each batch norm one that does nothing but add.

    Args:
        stored: folded weights by the network's names; the bias of a folded layer is ``<name>.weight_bias``, of a
            sparse convolution ``<name>.bias``; that one's weight may be a matrix.
        network: says which layers have a norm behind them.

    Returns:
        Name → tensor for all that the file holds of the network's state; shapes are those of the file.
    """
    ours = network.state_dict()
    state = {name: _as_kernel(value, ours[name]) for name, value in stored.items() if name in ours}
    for layer, name, norm in _norms(network):
        bias = stored.get(f"{layer}.weight_bias", stored.get(f"{layer}.bias"))
        if bias is None:
            continue
        one = torch.ones_like(bias)
        state |= {
            f"{name}.weight": torch.sqrt(one + norm.eps),
            f"{name}.bias": bias,
            f"{name}.running_mean": torch.zeros_like(bias),
            f"{name}.running_var": one,
            f"{name}.num_batches_tracked": torch.zeros((), dtype=torch.int64),
        }
    return state


def _as_kernel(stored: Tensor, ours: Tensor) -> Tensor:
    """A matrix (C_out, places × C_in) in the shape of the kernel that it was; anything else as it is."""
    is_matrix = stored.ndim == 2 and ours.ndim == 5 and stored.numel() == ours.numel() and len(stored) == len(ours)
    return stored.view_as(ours) if is_matrix else stored


@torch.no_grad()
def measure_norms(network: nn.Module, run_batch: Any, batches: Iterable[Any]) -> None:
    """Gives each batch norm the statistics of its inputs; what the network computes in evaluation does not change.

    Args:
        network: the network; its norms' scales and biases are changed.
        run_batch: runs the network once on a batch.
        batches: some batches of training examples, at least one.
    """
    norms = [norm for _, _, norm in _norms(network)]
    sums = {norm: _Moments() for norm in norms}
    was_training = network.training
    network.eval()
    with ExitStack() as stack:
        for norm in norms:
            stack.callback(norm.register_forward_pre_hook(lambda module, inputs: sums[module].add(inputs[0])).remove)
        for batch in batches:
            run_batch(batch)
    network.train(was_training)
    for norm in norms:
        _set_statistics(norm, *sums[norm].mean_and_variance())


def file_sha256(path: Path) -> str:
    """Hash of a model file."""
    return hashlib.sha256(regular_file.read_bytes(path, MAX_BYTES)).hexdigest()


class _Moments:
    """Mean and variance of a layer's inputs by channel, over batches."""

    def __init__(self) -> None:
        self.number = 0
        self.total: Tensor = torch.zeros(())
        self.squares: Tensor = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Takes in (N, C) or (B, C, H, W) values."""
        flat = values.detach().double().transpose(0, 1).flatten(1)
        self.number += flat.shape[1]
        self.total = self.total + flat.sum(dim=1)
        self.squares = self.squares + flat.square().sum(dim=1)

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        mean = self.total / self.number
        return mean, (self.squares / self.number - mean.square()).clamp(min=0)


def _set_statistics(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Sets a norm's statistics, and scale and bias such that it computes what it did before."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    before = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    norm.bias.add_((before * (mean - norm.running_mean.double())).to(norm.bias.dtype))
    norm.weight.copy_(before * torch.sqrt(variance + norm.eps))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def _norms(network: nn.Module) -> list[tuple[str, str, _BatchNorm]]:
    """(layer, norm, module) of each batch norm, with the layer that is made right before it and folded with it."""
    found, layer = [], ""
    for name, module in network.named_modules():
        if isinstance(module, _FOLDED):
            layer = name
        elif isinstance(module, _BatchNorm):
            found.append((layer, name, module))
    return found
