"""Classes of one's own, one command line each: train → export → replay through the node → evaluate."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.cli import main
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.model.model_file import read_model
from lidarloop_core.sample import Annotations, Sample

NETWORK = {
    "pillar-channels": "8",
    "stage-channels": "8 16",
    "stage-depths": "1 1",
    "neck-channels": "8",
    "shared-channels": "8",
    "group-channels": "8",
}
OPTIMISATION = {"num-steps": "2", "batch-size": "2", "precision": "float32"}
TINY = [
    *(word for name, value in NETWORK.items() for word in (f"--task.network.{name}", *value.split())),
    *(word for name, value in OPTIMISATION.items() for word in (f"--optimisation.{name}", value)),
    *("--run.num-workers", "0"),
]


class Renamed:
    """A source whose objects have other class names: the classes of the town, shared out among them."""

    def __init__(self, source: Any, names: tuple[str, ...]) -> None:
        self.source, self.names = source, names

    def __len__(self) -> int:
        return len(self.source)

    @property
    def keys(self) -> Any:
        return self.source.keys

    def pose(self, index: int) -> Any:
        return self.source.pose(index)

    def annotations(self, index: int) -> Annotations:
        found = self.source.annotations(index)
        old = found.boxes
        labels = np.arange(len(old)) % len(self.names)
        return dataclasses.replace(found, boxes=Boxes3D(old.values, old.scores, labels, self.names))

    def __getitem__(self, index: int) -> Sample:
        return dataclasses.replace(self.source[index], annotations=self.annotations(index))


@pytest.mark.parametrize("number", [1, 2, 37])
def test_own_classes_from_drive_to_score(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="no torch here: pip install lidarloop[train]")
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("embreex", reason="no ray caster here: pip install lidarloop[toytown]")
    from lidarloop_training.data.bag.writer import write_bag
    from lidarloop_training.toytown.drive import ToyTownDrive

    names = tuple(f"kind {i} of thing" for i in range(number))
    bag, run, model, out = (tmp_path / name for name in ("my drive.mcap", "my run", "model.onnx", "out"))
    write_bag(Renamed(ToyTownDrive(903, duration_s=1.0, cameras=False), names), bag)

    data = ["--data.source", "bag", "--data.path", str(bag)]
    assert main(["train", "pillar-drives", "--classes", *names, *data, "--run.out", str(run), *TINY]) == 0
    assert f"next: lidarloop export '{run}" in capsys.readouterr().out.replace("\n", "")
    assert main(["export", str(run), str(model), "--check-nvidia", "never"]) == 0
    assert read_model(model).spec.class_names == names
    assert main(["replay", str(bag), "--model", str(model), "--out", str(out), "--rate", "0.25"]) == 0
    assert main(["evaluate", str(out / "detections.json"), str(bag), "--out", str(out), "--resamples", "0"]) == 0

    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["confusion"]["classes"] == list(names)
    assert 0 <= metrics["mAP"] <= 1
    assert names[0].replace("_", " ") in (out / "report.html").read_text()
