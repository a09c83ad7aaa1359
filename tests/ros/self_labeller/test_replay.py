"""A bag played to the self-labelling node by one command, where ``ros2`` is not installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("embreex", reason="no ray caster here: pip install lidarloop[toytown]")

from lidarloop_core.cli import main
from lidarloop_core.io.bag import BagReader
from lidarloop_core.io.results import read_results


def test_a_bag_is_labelled_by_one_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    convert = ["convert", "toytown", "3100", str(tmp_path / "drive.mcap"), "--duration-s", "0.5", "--masks"]
    assert main([*convert, "--num-workers", "0"]) == 0
    with BagReader(tmp_path / "drive.mcap") as bag:
        image_topics = sorted(topic for topic in bag.topics if topic.endswith("/image/compressed"))
        num_clouds = bag.message_counts["/lidar/points"]
    masks = str(tmp_path / "drive.masks.json")
    parameters = {"image_topics": image_topics, "mask_model": "masks", "masks_file": masks, "motion_timeout_s": 1.0}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
    arguments = [str(tmp_path / "drive.mcap"), "--self-label", str(tmp_path / "mine.yaml"), "--pace", "lockstep"]
    code = main(["replay", *arguments, "--out", str(tmp_path / "out")])
    assert code == 0, capfd.readouterr().err
    labels, meta = read_results(tmp_path / "out" / "labels.json")
    assert len(labels) == num_clouds
    assert sum(map(len, labels.values())) > 10
    assert json.loads((tmp_path / "out" / "labels.json").read_text())["meta"] == meta
