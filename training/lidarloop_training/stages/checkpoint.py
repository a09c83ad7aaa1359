"""Checkpoints: folders that are whole or absent, with all that a run needs to go on exactly where it was.

``OUT/checkpoints/step-00001000/``: ``model.safetensors``, ``optimizer.safetensors``, ``state.json`` (step, hash of the
config) and ``config.json`` (resolved config, versions, git commit). There is no random state: see ``pillar_dataset``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from lidarloop_core.errors import ConfigError
from lidarloop_core.io.atomic import fsync
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.models.detector import NetworkConfig, PillarDetector

NUM_KEPT = 2
"""Older checkpoints of a run are deleted."""


def config_as_dict(config: Any) -> dict[str, Any]:
    """A config as JSON knows it."""
    result: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return result


# Where a run lies and where its first weights lay does not change what is learnt; the hash of those weights stays.
_WHERE = ("run", "init_from")


# Of a model's contract: what tells of the data it learnt from, and nothing of its network.
_OF_THE_DATA = ("name", "training_intensity")


def config_hash(config: Mapping[str, Any], world_size: int) -> str:
    """Hash of all that changes what is learnt: the config without its places, and the number of processes."""
    learnt = {key: value for key, value in config.items() if key not in _WHERE}
    return hashlib.sha256(json.dumps([learnt, world_size], sort_keys=True).encode()).hexdigest()


def provenance() -> dict[str, Any]:
    """Versions and commit that a run was made with."""
    packages = ("lidarloop", "lidarloop_core", "torch", "accelerate", "numpy", "numba")
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False)
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "git_commit": commit.stdout.strip() if commit.returncode == 0 else None,
    }


def write_checkpoint(
    run_folder: Path, step: int, model: nn.Module, optimizer: Optimizer, config: Mapping[str, Any], world_size: int
) -> Path:
    """Writes the state after ``step`` steps; gives its folder."""
    folder = run_folder / "checkpoints" / f"step-{step:08d}"
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary / "model.safetensors")
    save_file(_optimizer_tensors(model, optimizer), temporary / "optimizer.safetensors")
    state = {"step": step, "config_hash": config_hash(config, world_size)}
    (temporary / "state.json").write_text(json.dumps(state))
    (temporary / "config.json").write_text(json.dumps({**config, **provenance()}, indent=1))
    for path in (*temporary.iterdir(), temporary):
        fsync(path)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    fsync(folder.parent)
    for old in _checkpoints(run_folder)[:-NUM_KEPT]:
        shutil.rmtree(old)
    return folder


def latest_checkpoint(run_folder: Path) -> Path | None:
    """The newest checkpoint of a run; None where there is none."""
    return next(reversed(_checkpoints(run_folder)), None)


def resume(folder: Path, model: nn.Module, optimizer: Optimizer, config: Mapping[str, Any], world_size: int) -> int:
    """Loads a checkpoint into model and optimiser; gives the number of steps done.

    Raises:
        ConfigError: it was made with another config.
    """
    state = json.loads((folder / "state.json").read_text())
    if state["config_hash"] != config_hash(config, world_size):
        made_with = json.loads((folder / "config.json").read_text())
        differing = [key for key in config if key not in _WHERE and config[key] != made_with.get(key)]
        raise ConfigError(
            f"{folder} was made with another {', '.join(differing) or 'number of processes'} than this run's; "
            "expected the same to go on: repeat the command it was started with, or choose another --run.out"
        )
    model.load_state_dict(_load(folder / "model.safetensors"))
    _load_optimizer(model, optimizer, _load(folder / "optimizer.safetensors"))
    return int(state["step"])


def load_detector(path: Path) -> tuple[PillarDetector, Path]:
    """The detector of a run's newest checkpoint, or of one checkpoint, in eval mode; and that checkpoint's folder.

    Raises:
        ConfigError: there is no checkpoint, or it is damaged.
    """
    folder = path if (path / "state.json").is_file() else latest_checkpoint(path)
    if folder is None:
        raise ConfigError(
            f"{path} holds no checkpoint; expected the folder of a run or one of its checkpoints/step-…: "
            "`lidarloop train` makes and prints it"
        )
    try:
        config = json.loads((folder / "config.json").read_text())
        network = NetworkConfig(**{key: _tuples(value) for key, value in config["network"].items()})
        detector = PillarDetector(ModelSpec.from_json(json.dumps(config["spec"])), network)
        detector.load_state_dict(_load(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"{folder} is no whole checkpoint of this version ({error}); train again, or take another"
        ) from None
    return detector.eval(), folder


def start_from(path: Path, model: PillarDetector, config: Mapping[str, Any]) -> str:
    """Loads the weights of another run's newest checkpoint, or of one checkpoint, and nothing else of it.

    Args:
        path: the run or the checkpoint.
        model: takes the weights.
        config: of the run that starts; its network and its model's contract must be those of the weights.

    Returns:
        The hash of the weights' file.

    Raises:
        ConfigError: there is no checkpoint, or it is of another network.
    """
    detector, folder = load_detector(path)
    made_with = json.loads((folder / "config.json").read_text())
    for part in ("spec", "network"):
        ours, theirs = config[part], made_with[part]
        differing = [key for key in ours if key not in _OF_THE_DATA and ours[key] != theirs.get(key)]
        if differing:
            raise ConfigError(
                f"--init-from received {folder}, whose {part} has another {', '.join(differing)} than this run's; "
                "expected the same: its weights mean nothing in another network"
            )
    model.load_state_dict(detector.state_dict())
    return weights_sha256(folder)


def weights_sha256(folder: Path) -> str:
    """The hash of a checkpoint's weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _checkpoints(run_folder: Path) -> list[Path]:
    return sorted((run_folder / "checkpoints").glob("step-*"))


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); take another checkpoint") from None


def _optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{key}/{name}": value.contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def _load_optimizer(model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    position = {name: i for i, (name, _) in enumerate(model.named_parameters())}
    for key, tensor in tensors.items():
        kind, name = key.split("/", 1)
        state.setdefault(position[name], {})[kind] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
