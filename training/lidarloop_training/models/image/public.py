"""Public checkpoints of self-supervised image encoders under our names.

MoCo v3 (Chen, Xie and He, ICCV 2021; facebookresearch/moco-v3, a ResNet-50): of ``state_dict`` the names
``module.base_encoder.*``, without the prefix; projector and predictor (``fc``) and the momentum encoder are left out.

EsViT (Li et al., ICLR 2022; microsoft/esvit, a Swin-T): of ``teacher`` (or ``student``) all names but the heads',
without the prefixes ``module.`` and ``backbone.``; the size of its windows follows from the table of position biases.

The last stage (1/32) is left out in both: nothing here reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_training.models.image.resnet import ResNet
from lidarloop_training.models.image.swin import Swin

_MOCO_PREFIX = "module.base_encoder."
_UNREAD = re.compile(r"fc\.|layer4\.|head|layers\.3\.|layers\.2\.downsample\.|norm\.|avgpool|.*attn_mask$")
_TABLE = "layers.0.blocks.0.attn.relative_position_bias_table"

_Network = TypeVar("_Network", bound=nn.Module)


def moco_v3(path: Path) -> ResNet:
    """A ResNet-50 with the weights of a checkpoint of MoCo v3.

    Raises:
        ConfigError: the file cannot be read, or is another checkpoint.
    """
    stored = _read(path).get("state_dict")
    weights = _with_prefix(stored if isinstance(stored, Mapping) else {}, _MOCO_PREFIX)
    return _loaded(ResNet(), weights, path, f"MoCo v3's ResNet-50, state_dict/{_MOCO_PREFIX}*")


def esvit(path: Path) -> Swin:
    """A Swin-T with the weights of a checkpoint of EsViT.

    Raises:
        ConfigError: the file cannot be read, or is another checkpoint.
    """
    document = _read(path)
    stored = document.get("teacher", document.get("student"))
    weights = _with_prefix(stored if isinstance(stored, Mapping) else {}, "")
    weights = {name.removeprefix("module.").removeprefix("backbone."): value for name, value in weights.items()}
    table = weights.get(_TABLE)
    window = 7 if table is None else (math.isqrt(len(table)) + 1) // 2
    return _loaded(Swin(window=window), weights, path, "EsViT's Swin-T, teacher/*")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make the unpickler fail in any way
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{path} cannot be read as a checkpoint of torch ({reason}); take another file") from None
    return found if isinstance(found, Mapping) else {}


def _with_prefix(stored: Mapping[Any, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors with a prefix in their names, without it."""
    return {
        name[len(prefix) :]: value
        for name, value in stored.items()
        if isinstance(name, str) and isinstance(value, Tensor) and name.startswith(prefix)
    }


def _loaded(network: _Network, weights: Mapping[str, Tensor], path: Path, expected: str) -> _Network:
    """The network with all its weights from a checkpoint, each by name and shape."""
    found = {name: value for name, value in weights.items() if not _UNREAD.match(name)}
    wanted = network.state_dict()
    for name in dict.fromkeys([*wanted, *found]):
        ours, theirs = (tuple(side[name].shape) if name in side else "absent" for side in (wanted, found))
        if ours != theirs:
            raise ConfigError(
                f"{path} received {name} {theirs} where {ours} fits; expected {expected}: take another checkpoint, or "
                "another --task.image.kind"
            )
    network.load_state_dict(found)
    return network
