"""Frozen image encoders: a picture → feature maps, from public weights, our own, a 2D network, or at random."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.io import atomic
from lidarloop_core.io.images import resized
from lidarloop_training.models.image.onnx_taps import OnnxImageEncoder, OnnxInput
from lidarloop_training.models.image.pictures import imagenet_normalised
from lidarloop_training.models.image.public import esvit, moco_v3
from lidarloop_training.models.image.resnet import ResNet
from lidarloop_training.models.image.swin import Swin
from lidarloop_training.ranges import check_ranges

P2, P3, P4 = 2, 3, 4
"""Levels of the maps: 1/4, 1/8 and 1/16 of the picture."""

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageEncoderConfig:
    """Which image encoder, and what of it is used.

    Attributes:
        kind: moco-v3: ResNet-50 of a checkpoint of MoCo v3. esvit: Swin-T of a checkpoint of EsViT. lidarloop: the file
            that ``lidarloop pretrain image-encoder`` makes. onnx: a 2D network whose maps are tapped. random: a
            ResNet-50 that has learnt nothing, a control.
        path: the checkpoint or file; None for random.
        levels: which maps are used, out of 2, 3 and 4: 1/4, 1/8 and 1/16 of the picture.
        taps: for onnx, names of the values of its graph in the place of levels, finest first.
        onnx_input: for onnx, how it takes pictures.
        max_width: pictures that are wider are shrunk to it first, in pixels; 0 takes them as they are.
        seed: for random, seed of its weights.
    """

    kind: Literal["moco-v3", "esvit", "lidarloop", "onnx", "random"] = "lidarloop"
    path: Path | None = Path("out/image-encoder/encoder.safetensors")
    levels: tuple[int, ...] = (P2, P3, P4)
    taps: tuple[str, ...] = ()
    onnx_input: OnnxInput = "bgr-255"
    max_width: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(
            "ImageEncoderConfig",
            levels=(self.levels, P2, P4),
            max_width=(self.max_width, 0, 10**5),
            seed=(self.seed, 0, 2**63 - 1),
        )
        if not self.levels or len(set(self.levels)) < len(self.levels):
            raise ConfigError(f"--task.image.levels received {self.levels}; expected some of 2, 3 and 4, each once")


class ImageEncoder(Protocol):
    """What gives feature maps of a picture. It answers by the picture alone.

    Attributes:
        sha256: hash of all that its answers depend on: weights, levels, size of pictures.
        num_channels: channels of all maps together.
    """

    sha256: str
    num_channels: int

    def maps(self, picture: npt.NDArray[np.uint8]) -> list[Float32Array]:
        """Maps (C, h, w) float32 of a (H, W, 3) uint8 RGB picture, finest first, each spread evenly over it."""
        ...


class TorchImageEncoder:
    """A torch network as an ``ImageEncoder``.

    Args:
        network: gives the maps of P2, P3 and P4.
        config: levels that are used and the size of pictures.
        device: where it runs.
    """

    def __init__(self, network: ResNet | Swin, config: ImageEncoderConfig, device: torch.device) -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.levels, self.max_width, self.device = config.levels, config.max_width, device
        if max(self.levels) - P2 >= len(network.channels):
            raise ConfigError(
                f"--task.image.levels received {self.levels} for an encoder of {len(network.channels)} levels; "
                f"expected levels up to {P2 + len(network.channels) - 1}"
            )
        self.num_channels = sum(network.channels[level - P2] for level in self.levels)
        about = json.dumps([type(network).__name__, weights_sha256(network), self.levels, self.max_width])
        self.sha256 = hashlib.sha256(about.encode()).hexdigest()

    @torch.no_grad()
    def maps(self, picture: npt.NDArray[np.uint8]) -> list[Float32Array]:
        """(C, h, w) maps of a (H, W, 3) picture; see ``ImageEncoder.maps``."""
        height, width = picture.shape[:2]
        if 0 < self.max_width < width:
            picture = resized(picture, self.max_width, max(1, round(height * self.max_width / width)))
        found = self.network(torch.from_numpy(imagenet_normalised(picture))[None].to(self.device))
        return [found[level - P2][0].cpu().numpy() for level in self.levels]


def open_encoder(config: ImageEncoderConfig, device: torch.device | None = None) -> ImageEncoder:
    """The encoder of a configuration.

    Args:
        config: which one.
        device: where it runs; the CPU where None. A tapped ONNX network always runs on the CPU.

    Raises:
        ConfigError: no path is given, the file cannot be read or is another one, or there is no such level or tap.
        ModelFileError: an ONNX file is missing or foreign.
        BackendError: onnxruntime is missing.
    """
    device = device or torch.device("cpu")
    if config.kind == "random":
        return TorchImageEncoder(_random(config.seed), config, device)
    if config.path is None:
        raise ConfigError(f"the image encoder {config.kind} received no file; expected one: --task.image.path FILE")
    if config.kind == "onnx":
        return OnnxImageEncoder(config.path, config.taps, config.onnx_input)
    readers: dict[str, Callable[[Path], ResNet | Swin]] = {
        "moco-v3": moco_v3,
        "esvit": esvit,
        "lidarloop": read_encoder,
    }
    return TorchImageEncoder(readers[config.kind](config.path), config, device)


def write_encoder(network: ResNet, path: Path) -> None:
    """Writes a ResNet's weights, blocks and width to one file, which ``read_encoder`` reads."""
    about = {"blocks": json.dumps(network.blocks), "width": str(network.width)}
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic.replacing(path) as temporary:
        save_file(weights, temporary, metadata=about)


def read_encoder(path: Path) -> ResNet:
    """The ResNet of a file that ``write_encoder`` wrote.

    Raises:
        ConfigError: the file is missing, damaged or another one.
    """
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            network = ResNet(json.loads(about["blocks"]), int(about["width"]))
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no dict
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{path} is no image encoder ({type(error).__name__}: {reason}); expected the file that `lidarloop "
            "pretrain image-encoder` makes: run it, or name another by --task.image.path"
        ) from None
    return network


def weights_sha256(network: nn.Module) -> str:
    """Hash of a network's names and weights."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _random(seed: int) -> ResNet:
    """A ResNet-50 with random weights, the same for a seed; the global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNet()
