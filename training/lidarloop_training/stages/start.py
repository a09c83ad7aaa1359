"""Starting from another run's weights: all of them, or chosen parts of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_training.stages import start_centerpoint
from lidarloop_training.stages.checkpoint import (
    find_checkpoint,
    load_weights,
    parts_of,
    saved_parts,
    saved_task,
    weights_sha256,
)
from lidarloop_training.stages.config import ALL_PARTS
from lidarloop_training.stages.saved_task import as_json
from lidarloop_training.stages.start_model import SUFFIX, file_sha256, read_weights, unfolded
from lidarloop_training.tasks.task import TaskConfig

# Fields of a spec that describe the data it was trained on, and nothing of its network.
_OF_THE_DATA = ("name", "training_intensity", "lidar_height_m", "sweep_interval_s", "sweep_stamp")

# Fields of a spec that give the weights of a part their meaning, beyond the shapes.
_MEANING = {"encoder": ("point_columns",), "head": ("class_names",)}


def start_from(path: Path, parts: Sequence[str], network: nn.Module, config: TaskConfig) -> str:
    """Loads the weights of another run's newest checkpoint, or of one checkpoint, and nothing else of it.

    Args:
        path: the run, the checkpoint, a model file as `lidarloop export` writes it, or a public checkpoint of
            CenterPoint (.pth; ``start_centerpoint``).
        parts: names of the parts to load, or ``ALL_PARTS``; the others of the network stay as they are.
        network: takes the weights.
        config: task that the network was built for.

    Returns:
        The hash of the weights' file.

    Raises:
        ModelFileError: a model file is missing, foreign or damaged.
        ConfigError: there is no checkpoint, a part is on one side only, or its weights are of another network.
    """
    if path.suffix == SUFFIX:
        return _start_from_model(path, parts, network, config)
    if path.suffix == start_centerpoint.SUFFIX:
        return _start_from_centerpoint(path, parts, network, config)
    folder = find_checkpoint(path)
    if tuple(parts) == ALL_PARTS:
        _check_same_task(folder, config)
        parts = parts_of(network)
    theirs = load_weights(folder)
    for part in parts:
        _check_named(part, folder, network)
        _check_meaning(part, folder, config)
        wanted = _of_part(network.state_dict(), part)
        found = _of_part(theirs, part)
        _check_shapes(part, folder, wanted, found)
        network.get_submodule(part).load_state_dict(found)
    return weights_sha256(folder)


def _start_from_model(path: Path, parts: Sequence[str], network: nn.Module, config: TaskConfig) -> str:
    """``start_from`` of a model file; its norms still lack statistics, see ``measure_norms``."""
    spec, stored = read_weights(path)
    ours, theirs = as_json(config.spec), as_json(spec)
    if tuple(parts) == ALL_PARTS:
        if differing := _differing(ours, theirs, _OF_THE_DATA):
            raise ConfigError(
                f"--init-from received {path}, whose spec has another {', '.join(differing)} than this run's; expected "
                "the same, without which the weights have another meaning: name the parts that are alike by "
                "--init-parts"
            )
        parts = parts_of(network)
    weights = unfolded(stored, network)
    for part in parts:
        if part not in parts_of(network):
            raise ConfigError(
                f"--init-parts received {part}, which this run's network does not have; expected parts of "
                f"{', '.join(parts_of(network))}"
            )
        for field in _MEANING.get(part, ()):
            if ours[field] != theirs[field]:
                raise ConfigError(
                    f"--init-from received {path}, whose {part} was trained with {field} {theirs[field]}; expected "
                    f"this run's {ours[field]}: take another model or other parts"
                )
        found = _of_part(weights, part)
        _check_shapes(part, path, _of_part(network.state_dict(), part), found)
        network.get_submodule(part).load_state_dict(found)
    return file_sha256(path)


def _start_from_centerpoint(path: Path, parts: Sequence[str], network: nn.Module, config: TaskConfig) -> str:
    """``start_from`` of a public checkpoint: of its parts, those that are named."""
    public = start_centerpoint.read_public(path)
    weights = start_centerpoint.converted(public, network, config.spec)
    if not set(parts) <= set(start_centerpoint.PARTS) or not weights:
        missing = ", ".join(start_centerpoint.without_counterpart(public)) or "nothing of CenterPoint's names"
        raise ConfigError(
            f"--init-parts received {' '.join(parts)} for {path}, which has {missing} without a counterpart here; "
            f"expected parts that have one in a CenterPoint on voxels: --init-parts {' '.join(start_centerpoint.PARTS)}"
        )
    for part in parts:
        found = _of_part(weights, part)
        _check_shapes(part, path, _of_part(network.state_dict(), part), found)
        network.get_submodule(part).load_state_dict(found)
    return file_sha256(path)


def _check_same_task(folder: Path, config: TaskConfig) -> None:
    """For a complete network: equal shapes are not enough, since the order of classes or the size of a cell matters."""
    name, theirs = saved_task(folder)
    if name != config.name:
        raise ConfigError(
            f"--init-from received {folder}, whose task is {name}; expected {config.name}: name the parts to start "
            f"from, out of {', '.join(saved_parts(folder))}, by --init-parts"
        )
    ours = as_json(config)
    for settings in ("spec", "network"):
        found = theirs.get(settings)
        if differing := _differing(ours[settings], found if isinstance(found, dict) else {}, _OF_THE_DATA):
            raise ConfigError(
                f"--init-from received {folder}, whose {settings} has another {', '.join(differing)} than this run's; "
                "expected the same, without which the weights have another meaning: name the parts that are alike by "
                "--init-parts"
            )


def _check_named(part: str, folder: Path, network: nn.Module) -> None:
    for owner, parts in ((f"{folder}", saved_parts(folder)), ("this run's network", parts_of(network))):
        if part not in parts:
            raise ConfigError(
                f"--init-parts received {part}, which {owner} does not have; expected parts of {', '.join(parts)}"
            )


def _check_meaning(part: str, folder: Path, config: TaskConfig) -> None:
    _, theirs = saved_task(folder)
    ours = as_json(config.spec)
    for field in _MEANING.get(part, ()):
        if ours[field] != theirs["spec"].get(field):
            raise ConfigError(
                f"--init-from received {folder}, whose {part} was trained with {field} {theirs['spec'].get(field)}; "
                f"expected this run's {ours[field]}: take another checkpoint or other parts"
            )


def _check_shapes(part: str, folder: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for name in dict.fromkeys([*wanted, *found]):
        ours, theirs = (_shape(weights.get(name)) for weights in (wanted, found))
        if ours != theirs:
            raise ConfigError(
                f"--init-from received {folder}, whose part {part} does not fit: {part}.{name} is {theirs} there and "
                f"{ours} here; expected equal shapes: choose the same widths and depths, or other --init-parts"
            )


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"({', '.join(map(str, tensor.shape))})"


def _of_part(weights: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any], without: Sequence[str]) -> list[str]:
    return [key for key in ours if key not in without and ours[key] != theirs.get(key)]
