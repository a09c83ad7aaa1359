"""Model files: contracts with hostile values under a valid seal, and damaged bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.onnxruntime_backend import OnnxRuntimeBackend
from lidarloop_core.model import model_file
from lidarloop_core.model.model_file import read_model, seal
from lidarloop_core.model.spec import ModelSpec
from tests.builders import make_spec
from tests.fuzz import mutate, trees
from tests.fuzz.networks import mean_network


@cache
def _spec() -> ModelSpec:
    return make_spec()


@cache
def _network() -> bytes:
    return mean_network(_spec())


def case(rng: Random, folder: Path) -> Callable[[], object]:
    kind = rng.choice(("spec",) * 12 + ("sealed", "bytes", "network") * 4 + ("place",))
    if kind == "spec":
        text = mutate.json_bytes(rng, json.loads(_spec().to_json())).decode(errors="surrogateescape")
        return lambda: _use(ModelSpec.from_json(text))
    path = folder / "in" / "model.onnx"
    if kind == "sealed":
        document = mutate.document(rng, json.loads(_spec().to_json()))
        path.write_bytes(_sealed(json.dumps(document), _network()))
    elif kind == "bytes":
        path.write_bytes(mutate.data(rng, seal(_network(), _spec())))
    elif kind == "network":
        path.write_bytes(_sealed(_spec().to_json(), mutate.data(rng, _network())))
    else:
        path.write_bytes(seal(_network(), _spec()))
        trees.replace_file(rng, path)
    if rng.random() < 0.3:
        return lambda: read_model(path)
    return lambda: _detect(path)


def _sealed(spec: str, network: bytes) -> bytes:
    """A model file under a valid seal, whatever is in it."""
    body = network + model_file._metadata_entry(model_file.SPEC_KEY, spec)
    return body + model_file._seal_of(body)


def _use(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.inputs
    assert spec.output_tensors


def _detect(path: Path) -> None:
    detector = Detector(OnnxRuntimeBackend(path, num_threads=1))
    detector.detect(np.ones((20, len(detector.spec.point_columns)), np.float32))
