"""Results files and what else is JSON beside a drive: detections, tracks, shape priors, lane maps, latencies."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from lidarloop_core.io.lane_map import lane_map_from_json, lane_map_json
from lidarloop_core.io.results import read_results, read_track_ids, results_frame, write_results
from lidarloop_core.labelling.priors import ShapePriors
from tests.fuzz import mutate, trees


@cache
def _results() -> Any:
    boxes = {trees.STREET[i].token: trees.STREET[i].annotations.boxes for i in range(2)}
    meta = {"frame": "lidar", "model_sha256": "ab", "provenance": {"drive": "street"}}
    ids = {token: [f"{token}-{i}" for i in range(len(found))] for token, found in boxes.items()}
    tree = trees.tree_of(lambda root: write_results(root / "results.json", boxes, meta, track_ids=ids))
    return json.loads(tree["results.json"])


def _read_results(path: Path) -> None:
    boxes, meta = read_results(path)
    results_frame(meta)
    read_track_ids(path)
    for found in boxes.values():
        assert len(found.names) == len(found)


def case(rng: Random, folder: Path) -> Callable[[], object]:
    path = folder / "in" / "file.json"
    kind = rng.choice(("results", "results", "results", "priors", "lanes"))
    if kind == "lanes":
        lanes = mutate.document(rng, lane_map_json(trees.STREET[0].lane_map, "map"))
        return lambda: lane_map_from_json(lanes, "/lane_map")
    if kind == "priors":
        size = {"length": 4.5, "width": 1.8, "height": 1.4}
        path.write_bytes(mutate.json_bytes(rng, {"car": size, "bus": {**size, "length": 12}}))
        return lambda: ShapePriors.read(path)
    path.write_bytes(mutate.json_bytes(rng, _results()))
    if rng.random() < 0.02:
        trees.replace_file(rng, path)
    return lambda: _read_results(path)
