"""Parameter files: what one gives to a node. ROS itself ignores a file that names other nodes, without a message."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lidarloop_core.errors import ConfigError
from lidarloop_core.io import regular_file

# A file of parameters has a few kB.
MAX_BYTES = 1_000_000


def parameters_for(path: Path, node: str) -> dict[str, Any]:
    """The parameters that a file sets for a node, by ROS's rules: later entries win, ``*`` and ``**`` are wildcards.

    Args:
        path: the file.
        node: the node's fully qualified name, e.g. ``"/front/lidar_detector"``.

    Returns:
        Name → value; nested names are joined by dots.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or sets nothing for this node.
    """
    found: dict[str, Any] = {}
    names = []
    for pattern, parameters in _blocks(_load(path), ""):
        names.append(pattern)
        if _matches(pattern, node):
            found |= dict(_flat(parameters, ""))
    if not found:
        named = f"it names {', '.join(names)}" if names else "it has no `ros__parameters` below the name of a node"
        raise ConfigError(
            f"{path} sets no parameter of {node}: {named}; expected `/**:` or `{node}:`, below it `ros__parameters:`, "
            "and below that the parameters"
        )
    return found


def _load(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"{path} is not a file; expected a YAML file of parameters")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path} has {path.stat().st_size} bytes; expected a YAML file of at most {MAX_BYTES}")
    try:
        return yaml.safe_load(regular_file.read_bytes(path, MAX_BYTES))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); expected a YAML file of parameters") from None
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: {getattr(error, 'problem', '')}" if mark else type(error).__name__
        raise ConfigError(f"{path} is no YAML ({where}); expected one indented by spaces alone") from None


def _blocks(content: Any, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(pattern of a node's name, its parameters), in the order of the file."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if key == "ros__parameters":
            if isinstance(value, Mapping):
                yield prefix or "/", value
        else:
            yield from _blocks(value, f"{prefix}/{str(key).strip('/')}")


def _matches(pattern: str, node: str) -> bool:
    tokens = {"**": r"(?:/[^/]+)*", "*": r"/[^/]+"}
    expression = "".join(tokens.get(token, "/" + re.escape(token)) for token in pattern.strip("/").split("/"))
    return re.fullmatch(expression, node) is not None


def _flat(parameters: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
