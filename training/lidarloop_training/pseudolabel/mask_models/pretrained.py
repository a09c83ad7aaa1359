"""Loading a model of the transformers library with its processor, from the hub or from a folder."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lidarloop_core.errors import BackendError, ModelFileError
from lidarloop_core.io import regular_file

_MOST_WEIGHTS_BYTES = 1 << 40  # hashed piece by piece


@dataclass(frozen=True)
class Pretrained:
    """A network ready to run, with what prepares its inputs.

    Attributes:
        name: the hub's id with the commit, or the folder with the beginning of its weights' hash.
        kind: the library's ``model_type``, e.g. "grounding-dino".
        model: in evaluation mode, on its device.
        processor: as saved beside it.
    """

    name: str
    kind: str
    model: Any
    processor: Any

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    def inputs(self, **given: Any) -> Any:
        """What the processor makes of pictures and texts, as tensors on the model's device."""
        return self.processor(**given, return_tensors="pt").to(self.device)

    def running(self) -> contextlib.ExitStack:
        """Without gradients, and in half precision where there is a GPU.

        Weights stay as they are: the library's detectors mix types, and fail where the complete network is cast.
        """
        stack = contextlib.ExitStack()
        stack.enter_context(torch.inference_mode())
        if self.device.type == "cuda":
            stack.enter_context(torch.autocast("cuda", dtype=torch.float16))
        return stack


def load(task: str, source: str, *, processor: str, revision: str | None, device: str | None) -> Pretrained:
    """Loads a model and its processor. Weights are safetensors, and no code that comes with them is run.

    Args:
        task: the library's class that maps a configuration to its network, e.g. ``"AutoModelForMaskGeneration"``.
        source: a folder, of which alone is read then, or an id on the hub.
        processor: the same for the processor, e.g. ``"AutoProcessor"``.
        revision: on the hub: branch, tag or commit.
        device: e.g. ``"cuda:1"``; the first GPU, else the CPU, by default.

    Raises:
        BackendError: the library, or something that this model needs of it, is not installed.
        ModelFileError: there is no such model, or it is of another task.
    """
    library = _library()
    folder = Path(source)
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": folder.is_dir()}
    if not folder.is_dir():
        options["revision"] = revision
    try:
        for path in folder.iterdir() if folder.is_dir() else ():
            if not path.is_dir():
                regular_file.require(path, _MOST_WEIGHTS_BYTES)
        model = getattr(library, task).from_pretrained(source, use_safetensors=True, **options)
        prepares = getattr(library, processor).from_pretrained(source, **options)
    except ImportError as error:
        raise BackendError(f"{source} needs a package that is missing: {error}") from None
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelFileError(
            f"{source}: cannot be loaded as {task} ({reason}); expected a folder with config.json, model.safetensors "
            "and the processor's files, or an id on the Hugging Face hub that this machine reaches"
        ) from None
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = _folder_name(folder) if folder.is_dir() else f"{source}@{getattr(model.config, '_commit_hash', None)}"
    return Pretrained(name, str(model.config.model_type), model.eval().to(place), prepares)


def as_picture(pixels: npt.NDArray[np.uint8]) -> Any:
    """A (H, W, 3) picture in the one form whose axes no processor has to guess."""
    from PIL import Image

    return Image.fromarray(pixels)


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise BackendError(
            f"transformers cannot be imported ({error}); install it: pip install 'lidarloop[mask-models]'"
        ) from None
    return transformers


def _folder_name(folder: Path) -> str:
    """Its name, and the hash of all weights in it."""
    sha256 = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with regular_file.opened(path, _MOST_WEIGHTS_BYTES) as file:
            while block := file.read(1 << 22):
                sha256.update(block)
    return f"{folder.resolve().name}@{sha256.hexdigest()[:12]}"
