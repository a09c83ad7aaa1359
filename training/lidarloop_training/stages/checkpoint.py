"""Checkpoints: folders that are complete or absent, with all that a run needs to go on exactly where it was.

``OUT/checkpoints/step-00001000/``: ``model.safetensors``, ``optimizer.safetensors``, ``state.json`` (format, step,
task, parts of the network, hash of the config) and ``config.json`` (resolved config, versions, git commit). There is no
random state: each example and each batch depends on seed, epoch and index alone.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from lidarloop_core.errors import ConfigError
from lidarloop_core.io import outside, regular_file
from lidarloop_core.io.atomic import fsync
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.saved_task import as_json, from_json, task_type
from lidarloop_training.tasks.task import Task

_MOST_WEIGHTS_BYTES = 1 << 36

FORMAT = 2
"""Checkpoints before it (format 1 had no number) knew one network and no parts."""

NUM_KEPT = 2
"""Older checkpoints of a run are deleted."""

# Where a run lies and where its first weights lay does not change what is learnt; the hash of those weights stays.
_WHERE = ("run", "init_from")


@dataclass(frozen=True)
class SavedRun:
    """What a run's checkpoints say about it.

    Attributes:
        config: its configuration as JSON knows it, and under ``init_sha256`` the hash of the weights it started with.
        task: name of its task.
        world_size: number of processes.
    """

    config: Mapping[str, Any]
    task: str
    world_size: int

    @staticmethod
    def of(config: TrainConfig[Any], world_size: int, init_sha256: str | None) -> SavedRun:
        """The run with a configuration."""
        started_with = {} if init_sha256 is None else {"init_sha256": init_sha256}
        return SavedRun({**as_json(config), **started_with}, config.task.name, world_size)

    @property
    def hash(self) -> str:
        """Hash of all that changes what is learnt: the config without its places, task and number of processes."""
        learnt = {key: value for key, value in self.config.items() if key not in _WHERE}
        return hashlib.sha256(json.dumps([learnt, self.task, self.world_size], sort_keys=True).encode()).hexdigest()


class Loaded(NamedTuple):
    """What ``load_task`` finds.

    Attributes:
        task: the task, as it was trained.
        network: its trained network in eval mode, on the CPU.
        folder: the checkpoint.
    """

    task: Task[Any, Any]
    network: nn.Module
    folder: Path


def provenance() -> dict[str, Any]:
    """Versions and commit that a run was made with."""
    packages = ("lidarloop", "lidarloop_core", "torch", "accelerate", "numpy", "numba")
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False)
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "git_commit": commit.stdout.strip() if commit.returncode == 0 else None,
    }


def parts_of(network: nn.Module) -> tuple[str, ...]:
    """A network's parts: its top-level modules that have weights."""
    return tuple(name for name, module in network.named_children() if module.state_dict())


def write_checkpoint(out: Path, step: int, network: nn.Module, optimizer: Optimizer, run: SavedRun) -> Path:
    """Writes the state after ``step`` steps into a run's folder ``out``.

    Returns:
        The checkpoint's folder.
    """
    folder = out / "checkpoints" / f"step-{step:08d}"
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, temporary / "model.safetensors")
    save_file(_optimizer_tensors(network, optimizer), temporary / "optimizer.safetensors")
    state = {"format": FORMAT, "step": step, "task": run.task, "parts": parts_of(network), "config_hash": run.hash}
    (temporary / "state.json").write_text(json.dumps(state))
    (temporary / "config.json").write_text(json.dumps({**run.config, **provenance()}, indent=1))
    for path in (*temporary.iterdir(), temporary):
        fsync(path)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    fsync(folder.parent)
    for old in _checkpoints(out)[:-NUM_KEPT]:
        shutil.rmtree(old)
    return folder


def latest_checkpoint(run_folder: Path) -> Path | None:
    """The newest checkpoint of a run; None if it has none."""
    return next(reversed(_checkpoints(run_folder)), None)


def resume(folder: Path, network: nn.Module, optimizer: Optimizer, run: SavedRun) -> int:
    """Loads a checkpoint into network and optimiser.

    Returns:
        The number of steps done.

    Raises:
        ConfigError: it was made with another config or by an older lidarloop, or it is damaged.
    """
    state = _read_state(folder)
    if state["config_hash"] != run.hash:
        made_with = _read_json(folder / "config.json")
        differing = [key for key in run.config if key not in _WHERE and run.config[key] != made_with.get(key)]
        raise ConfigError(
            f"{folder} was made with another {', '.join(differing) or 'number of processes'} than this run's; "
            "expected the same to go on: repeat the command it was started with, or choose another --run.out"
        )
    weights, moments = load_weights(folder), _load(folder / "optimizer.safetensors")
    try:
        network.load_state_dict(weights)
        _load_optimizer(network, optimizer, moments)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(
            f"{folder} does not fit the run that it is of ({_first_line(error)}); expected its weights and its "
            "optimiser's state: take another checkpoint"
        ) from None
    return int(state["step"])


def load_task(path: Path) -> Loaded:
    """Task and network of a run's newest checkpoint, or of one checkpoint.

    Args:
        path: folder of the run or of the checkpoint.

    Raises:
        ConfigError: there is no checkpoint, it was made by an older lidarloop, or it is damaged.
    """
    folder = find_checkpoint(path)
    state = _read_state(folder)
    try:
        task = from_json(task_type(state["task"]), _read_json(folder / "config.json")["task"]).task()
        network = task.build()
        network.load_state_dict(load_weights(folder))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"{folder} is no complete checkpoint of this version ({_first_line(error)}); train again, or take another"
        ) from None
    return Loaded(task, network.eval(), folder)


def find_checkpoint(path: Path) -> Path:
    """The folder of a run's newest checkpoint; ``path`` itself if it is a checkpoint.

    Raises:
        ConfigError: there is none.
    """
    folder = path if (path / "state.json").is_file() else latest_checkpoint(path)
    if folder is None:
        raise ConfigError(
            f"{path} holds no checkpoint; expected the folder of a run or one of its checkpoints/step-…: "
            "`lidarloop train` makes and prints it"
        )
    return folder


def step_of(folder: Path) -> int:
    """The number of steps that a checkpoint was made after.

    Raises:
        ConfigError: it was made by an older lidarloop, or it is damaged.
    """
    return int(_read_state(folder)["step"])


def saved_parts(folder: Path) -> tuple[str, ...]:
    """The parts of a checkpoint's network.

    Raises:
        ConfigError: it was made by an older lidarloop, or it is damaged.
    """
    return tuple(_read_state(folder)["parts"])


def saved_task(folder: Path) -> tuple[str, dict[str, Any]]:
    """Name and settings, as JSON knows them, of a checkpoint's task.

    Raises:
        ConfigError: it was made by an older lidarloop, or it is damaged.
    """
    settings = _read_json(folder / "config.json").get("task")
    if not isinstance(settings, dict) or not isinstance(settings.get("spec"), dict):
        raise ConfigError(
            f"{folder / 'config.json'} received no settings of a task with a spec; expected those of the run: take "
            "another checkpoint"
        )
    return str(_read_state(folder)["task"]), settings


def load_weights(folder: Path) -> dict[str, Tensor]:
    """A checkpoint's weights by their names, shaped like the network's; each name begins with its part.

    Raises:
        ConfigError: the file is damaged or absent.
    """
    return _load(folder / "model.safetensors")


def weights_sha256(folder: Path) -> str:
    """Hash of a checkpoint's weights."""
    path = folder / "model.safetensors"
    try:
        return hashlib.sha256(regular_file.read_bytes(path, _MOST_WEIGHTS_BYTES)).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _checkpoints(run_folder: Path) -> list[Path]:
    return sorted((run_folder / "checkpoints").glob("step-*"))


def _first_line(error: Exception) -> str:
    """What torch writes over many lines, one for each tensor, in one of bounded length."""
    return " ".join(str(error).split())[:200]


def _read_state(folder: Path) -> dict[str, Any]:
    state = _read_json(folder / "state.json")
    found = state.get("format", 1)
    if found != FORMAT:
        raise ConfigError(
            f"{folder} is a checkpoint of format {found}; expected format {FORMAT}: train again, or use the lidarloop "
            "whose version is in its config.json"
        )
    wrong = [name for name, is_so in _FIELDS.items() if name not in state or not is_so(state[name])]
    if wrong:
        raise ConfigError(
            f"{folder / 'state.json'} received no valid {', '.join(wrong)}; expected what lidarloop wrote: take "
            "another checkpoint"
        )
    return state


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "step": lambda value: type(value) is int and value >= 0,
    "task": _is_text,
    "parts": _is_list_of_texts,
    "config_hash": _is_text,
}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = outside.read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); take another checkpoint") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds a {type(found).__name__}; expected an object: take another checkpoint")
    return found


def _load(path: Path) -> dict[str, Tensor]:
    try:
        regular_file.require(path, _MOST_WEIGHTS_BYTES)
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"{path} cannot be read ({error}); take another checkpoint")


def _optimizer_tensors(network: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{key}/{name}": value.contiguous()
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def _load_optimizer(network: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    position = {name: i for i, (name, _) in enumerate(network.named_parameters())}
    for key, tensor in tensors.items():
        kind, name = key.split("/", 1)
        state.setdefault(position[name], {})[kind] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
