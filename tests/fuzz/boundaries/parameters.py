"""Parameter files of the detector node: damaged YAML, and parameters with hostile names, types and values."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import domain_coordinator
import yaml

from lidarloop_core.errors import LidarloopError
from lidarloop_core.model.model_file import write_model
from lidarloop_ros.detector.node import LidarDetector
from lidarloop_ros.node import runner
from tests.builders import make_spec
from tests.fuzz import mutate
from tests.fuzz.networks import mean_network

CONFIG = Path(__file__).resolve().parents[3] / "launch" / "config" / "detector.yaml"


class NotConfigured(LidarloopError):
    """The node stays unconfigured, and its diagnostics say why."""


@cache
def _parameters() -> Any:
    return yaml.safe_load(CONFIG.read_text())["/**"]["lidar_detector"]["ros__parameters"]


def case(rng: Random, folder: Path) -> Callable[[], object]:
    path, model = folder / "in" / "params.yaml", folder / "in" / "model.onnx"
    spec = make_spec()
    write_model(model, mean_network(spec), spec)
    document = {"lidar_detector": {"ros__parameters": {**_parameters(), "model": str(model)}}}
    kind = rng.choice(("value", "value", "value", "document", "bytes"))
    if kind == "value":
        parameters = document["lidar_detector"]["ros__parameters"]
        parameters[rng.choice([*parameters, "unknown"])] = rng.choice((mutate.value(rng), mutate.number(rng)))
    elif kind == "document":
        document = mutate.document(rng, document)
    text = yaml.safe_dump(document, allow_unicode=True).encode(errors="surrogateescape")
    path.write_bytes(mutate.data(rng, text) if kind == "bytes" else text)
    return lambda: _configure(path)


def _configure(path: Path) -> None:
    """The node as its program runs it, but that it ends when it has tried to configure."""
    problems = []

    def make() -> LidarDetector:
        node = LidarDetector()
        node.trigger_configure()
        problems.append(node.configure_problem)
        node.ended.set_result("tried")
        return node

    arguments = ["node", "--ros-args", "--params-file", str(path), "--log-level", "fatal"]
    with domain_coordinator.domain_id() as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        code = runner.run(make, arguments)
    if any(problems):
        assert "Traceback" not in problems[0], problems[0][-300:]
        raise NotConfigured(problems[0])
    assert problems or code in (1, 2)
