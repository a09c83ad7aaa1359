"""Starting from a checkpoint of CenterPoint on voxels as its authors, or mmdetection3d, publish it.

Names there (det3d of tianweiy/CenterPoint; open-mmlab/mmdetection3d) and here, levels and stages counted from 0 here:

=====================================  ====================================================  =========================
det3d                                  mmdetection3d                                         here
=====================================  ====================================================  =========================
backbone.conv_input.0, .1              pts_middle_encoder.conv_input.0, .1                   encoder.sparse.first
backbone.conv{n}.0, .1 (n > 1)         pts_middle_encoder.encoder_layers.encoder_layer       encoder.sparse.down.{n-2}
                                       {n-1}.2.0, .1
backbone.conv{n}.{b}.conv1, bn1,       pts_middle_encoder.encoder_layers.encoder_layer{n}    encoder.sparse.stages
conv2, bn2 (b from 0 or 3)             .{b}.conv1, bn1, conv2, bn2                           .{n-1}.{b}.first, second
neck.blocks.{s}.{3j+1}, {3j+2}         pts_backbone.blocks.{s}.{3j}, {3j+1}                  backbone.stages.{s}.{j}
=====================================  ====================================================  =========================

What is loaded computes what it computed there, with the grid that it had there: 41 layers of 0.2 m (theirs adds an
empty one above 3 m), three strided levels of kernel 3, stride 2 and padding 1, the last without padding along z. Three
differences are taken into the weights: spconv 1 stores them in another order; theirs take raw columns where ours are
scaled and have the place within the voxel beside them (``VoxelFeatures``); and their residual blocks may have a bias
before the norm, which the norm's mean takes over. Theirs average a voxel's first ten points, ours all of them.

The rest has no counterpart, and starts at random:

- extra_conv / conv_out: theirs leaves two layers, and lays them side by side as channels; ours folds all into one by
  one convolution (``VoxelEncoder``). A column with voxels in one of the two layers alone gives another value.
- deblocks: theirs concatenates the upsampled maps behind a ReLU each, ours sums them before one (``BevBackbone``).
- the head: theirs has a hidden convolution for each output and 3×3 kernels at the end, ours one hidden convolution a
  group and 1×1 kernels (``CenterHead``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec

SUFFIX = ".pth"
"""What ``init_from`` ends with where it is a public checkpoint."""

PARTS = ("encoder.sparse.first", "encoder.sparse.down", "encoder.sparse.stages", "backbone.stages")
"""What such a checkpoint gives."""

_COLUMNS = ("x", "y", "z", "intensity", "dt")

_PLACES = r"(weight|bias|running_mean|running_var|num_batches_tracked)"

_Name = Callable[[re.Match[str]], str]


def _layer(prefix: str, place: str, value: str) -> str:
    """Convolution and norm, the first and second of a sequence, under our names."""
    return f"{prefix}.{('conv', 'norm')[int(place)]}.{value}"


def _residual(level: int, block: int, found: re.Match[str]) -> str:
    kind = "conv" if found["kind"] == "conv" else "norm"
    unit = ("first", "second")[int(found["unit"]) - 1]
    return f"encoder.sparse.stages.{level}.{block}.{unit}.{kind}.{found['value']}"


def _dense(stage: str, place: int, value: str) -> str:
    return f"backbone.stages.{stage}.{place // 3}.{place % 3}.{value}"


_UNIT = rf"(?P<kind>conv|bn)(?P<unit>[12])\.(?P<value>{_PLACES})"

_RULES: tuple[tuple[str, _Name], ...] = (
    (
        rf"(?:backbone|pts_middle_encoder)\.conv_input\.([01])\.{_PLACES}",
        lambda m: _layer("encoder.sparse.first", m[1], m[2]),
    ),
    (
        rf"backbone\.conv([2-9])\.([01])\.{_PLACES}",
        lambda m: _layer(f"encoder.sparse.down.{int(m[1]) - 2}", m[2], m[3]),
    ),
    (
        rf"pts_middle_encoder\.encoder_layers\.encoder_layer(\d)\.\d+\.([01])\.{_PLACES}",
        lambda m: _layer(f"encoder.sparse.down.{int(m[1]) - 1}", m[2], m[3]),
    ),
    (rf"backbone\.conv1\.(?P<block>\d+)\.{_UNIT}", lambda m: _residual(0, int(m["block"]), m)),
    (
        rf"backbone\.conv(?P<level>[2-9])\.(?P<block>\d+)\.{_UNIT}",
        lambda m: _residual(int(m["level"]) - 1, int(m["block"]) - 3, m),
    ),
    (
        rf"pts_middle_encoder\.encoder_layers\.encoder_layer(?P<level>\d)\.(?P<block>\d+)\.{_UNIT}",
        lambda m: _residual(int(m["level"]) - 1, int(m["block"]), m),
    ),
    (rf"neck\.blocks\.(\d+)\.(\d+)\.{_PLACES}", lambda m: _dense(m[1], int(m[2]) - 1, m[3])),
    (rf"pts_backbone\.blocks\.(\d+)\.(\d+)\.{_PLACES}", lambda m: _dense(m[1], int(m[2]), m[3])),
)


def read_public(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint by their names there: (out, in, ky, kx) of dense convolutions, (kz, ky, kx, in, out)
    or (out, kz, ky, kx, in) of sparse ones, (out,) of biases and norms.

    Raises:
        ConfigError: the file is missing, is no checkpoint, or holds more than tensors and plain values.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make the unpickler fail in any way
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"--init-from received {path}, which cannot be read as a checkpoint of torch ({reason}); expected a file "
            "of tensors and plain values: save its state_dict alone where it holds other objects"
        ) from None
    state = stored.get("state_dict", stored) if isinstance(stored, dict) else {}
    return {str(name).removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}


def our_name(public: str) -> str | None:
    """The name here of a weight there; None where it has no counterpart."""
    for pattern, name in _RULES:
        if found := re.fullmatch(pattern, public):
            return name(found)
    return None


def without_counterpart(public: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The modules there that have none here: two words of the names of weights (out, …) there, each once."""
    return tuple(dict.fromkeys(".".join(name.split(".")[:2]) for name in public if our_name(name) is None))


def converted(public: Mapping[str, Tensor], network: nn.Module, spec: ModelSpec) -> dict[str, Tensor]:
    """The weights that have a counterpart, under our names and for our features.

    Args:
        public: name there → weight, as of ``read_public``.
        network: says which shapes are wanted; it is not changed.
        spec: contract of the model that the network is built for.

    Returns:
        Name here → tensor, (out, kz, ky, kx, in) of sparse convolutions; of the network's shapes where widths and
        depths are equal.

    Raises:
        ConfigError: the model has other columns than theirs, or their levels are not of residual blocks.
    """
    found = _named(public)
    wanted = network.state_dict()
    for name in [name for name, value in found.items() if value.dim() == 5]:
        found[name] = _in_our_order(found[name], wanted.get(name))
    first = "encoder.sparse.first.conv.weight"
    scale = dict(network.named_buffers()).get("encoder.features.column_scale")
    if first in found and scale is not None:
        found[first] = _for_our_features(found[first], scale, spec)
    for name in [name for name in found if name.endswith(".conv.bias")]:
        mean = f"{name.removesuffix('.conv.bias')}.norm.running_mean"
        if mean in found:
            found[mean] = found[mean] - found.pop(name)
    return found


def _named(public: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in public.items():
        ours = our_name(name)
        if ours is None:
            continue
        if ours in found:  # SECOND's plain encoder has several convolutions where this one has the strided one alone
            raise ConfigError(
                f"--init-from received an encoder with {name}, a second counterpart of {ours}; expected residual "
                "blocks of two convolutions at each level: take another checkpoint"
            )
        found[ours] = value
    return found


def _in_our_order(weight: Tensor, wanted: Tensor | None) -> Tensor:
    """(out, kz, ky, kx, in), as spconv 2 stores it; spconv 1 has (kz, ky, kx, in, out)."""
    if wanted is not None and weight.shape[1:4] != wanted.shape[1:4] and weight.shape[:3] == wanted.shape[1:4]:
        return weight.permute(4, 0, 1, 2, 3).contiguous()
    return weight


def _for_our_features(weight: Tensor, scale: Tensor, spec: ModelSpec) -> Tensor:
    """(out, kz, ky, kx, C) → (out, kz, ky, kx, C + 3): the same function of the columns times ``scale`` (C,)."""
    num_columns = weight.shape[-1]
    if spec.point_columns != _COLUMNS[:num_columns]:
        raise ConfigError(
            f"--init-from received a network for {', '.join(_COLUMNS[:num_columns])}; expected this run's "
            f"point_columns {', '.join(spec.point_columns)}: take another checkpoint or other --init-parts"
        )
    return torch.cat([weight / scale, torch.zeros(*weight.shape[:-1], 3)], dim=-1)
