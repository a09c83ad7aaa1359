"""`lidarloop pseudolabel` as a user calls it: labels, a report, an interruption, mistakes."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lidarloop_core import cli
from lidarloop_core.io.results import read_results

COMMAND = [sys.executable, "-m", "lidarloop_core.cli", "pseudolabel"]
SHORT = ("toytown", "3000", "--duration-s", "0.6", "--segment-frames", "1")


def pseudolabel(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=240)


def run_here(*arguments: str | Path) -> tuple[int, str]:
    """The command in this process, which is quicker: exit code and what it complained about."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = cli.main(["pseudolabel", *map(str, arguments)])
    return code, "".join(line for line in said.getvalue().splitlines(keepends=True) if "labelling" not in line[:12])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_drive_gets_labels_and_a_report(tmp_path: Path) -> None:
    out = tmp_path / "labels"

    done = pseudolabel(*SHORT, "--every", "5", "--out", out, "--report")

    assert done.returncode == 0, done.stderr
    labels = out / "toytown-3000" / "labels.json"
    assert str(labels) in done.stdout.splitlines()
    assert str(out / "report.html") in done.stdout.splitlines()
    assert "stand-in" in done.stdout
    boxes, meta = read_results(labels)
    assert list(boxes) == ["toytown-3000-0000", "toytown-3000-0005"]
    assert sum(map(len, boxes.values())) > 20
    assert meta["frame"] == "world"
    assert meta["provenance"]["lifting"]["center"] == "box_fit"
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["mAP"] > 0.1
    assert {row["verdict"] for row in metrics["diagnostics"]} <= {"fine", "suspicious", "cannot be told"}
    assert len(metrics["diagnostics"]) == 6
    assert metrics["labels"]
    page = (out / "report.html").read_text()
    assert "Failure signatures" in page
    assert "Labels as they are" in page


STOPS_AFTER_ONE = """
import sys
from lidarloop_core import cli
from lidarloop_training.pseudolabel.manifest import Manifest

record = Manifest.record

def record_one(manifest, *segment):
    if any(map(manifest.is_done, manifest.segments)):
        print("one is recorded", flush=True)
        sys.stdin.read()
    record(manifest, *segment)

Manifest.record = record_one
cli.main(["pseudolabel", *sys.argv[1:]])
"""


def test_a_killed_run_goes_on_without_redoing_or_losing_anything(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments = (*SHORT, "--sensors", "lidar", "--recipe", "paper", "--out")
    assert run_here(*arguments, whole) == (0, "")

    command = [sys.executable, "-c", STOPS_AFTER_ONE, *map(str, (*arguments, broken))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert any(b"one is recorded" in line for line in process.stdout)  # reads until then
        process.kill()
    finished = {path: path.stat().st_mtime_ns for path in broken.glob("segments/*.json")}
    assert len(finished) == 1

    assert run_here(*arguments, broken) == (0, "")

    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert contents(broken) == contents(whole)


def test_drives_without_ground_truth_get_the_diagnostics_that_need_none(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"

    code, said = run_here("kitti-raw", real_data / "kitti_raw_sequence", "--sensors", "lidar", "--out", out, "--report")

    assert code == 0, said
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["mAP"] is None
    assert len(metrics["diagnostics"]) == 3
    assert "Failure signatures" in (out / "report.html").read_text()
    (labels,) = out.glob("*/labels.json")
    assert read_results(labels)[1]["frame"] == "lidar"  # no ego-motion


def test_a_run_that_labels_nothing_names_what_was_left_out_and_fails(tmp_path: Path) -> None:
    """Masks of another size than the calibration's: nothing can be lifted."""
    masks = tmp_path / "masks.json"
    cameras = ["CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]
    box = {"bbox": [10, 10, 30, 30], "segmentation": [[10, 10, 40, 10, 40, 40, 10, 40]], "category_id": 1}
    document = {
        "images": [
            {
                "id": i,
                "file_name": f"{camera}.jpg",
                "width": 64,
                "height": 64,
                "sample_token": "toytown-3000-0000",
                "camera": camera,
            }
            for i, camera in enumerate(cameras)
        ],
        "annotations": [{"id": i, "image_id": i, **box} for i in range(len(cameras))],
        "categories": [{"id": 1, "name": "car"}],
    }
    masks.write_text(json.dumps(document))
    out = tmp_path / "out"

    code, said = run_here(
        *SHORT, "--every", "9", "--mask-model", "masks", "--masks.file", masks, "--out", out, "--recipe", "paper"
    )

    assert code == 1
    assert said.startswith("lidarloop pseudolabel: 1 frames gave no label")
    assert "picture size differs from that of the masks (6)" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bag", "drive.mcap"), "no --mask-model"),
        (("toytown", "7", "--sensors", "lidar", "--mask-model", "toytown"), "no image"),
        (("toytown", "7", "--masks.file", "masks.json"), "options of --mask-model masks"),
        (("toytown", "7", "--recipe", "paper", "--refine.min-hits", "3"), "--recipe full"),
        (("toytown", "7", "--ray-address", "here:1"), "--executor ray"),
        (("nuscenes-sweep", "missing", "--sensors", "lidar"), "does not exist"),
        (("toytown", "7", "--every", "0"), "at least 1"),
        (("toytown", "7", "--priors", "missing.json"), "shape priors"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    code, said = run_here(*arguments, "--out", tmp_path / "out")

    assert code == 1
    assert words in said
    assert said.startswith("lidarloop pseudolabel: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("toytown", "7"), "--out"),
        (("toytown", "seven", "--out", "labels"), "seven"),
        (("kitti-raw", "drive", "--out", "labels", "--mask-model", "toytown"), "toytown"),
        (("kitti-raw", "drive", "--out", "labels", "--duration-s", "3"), "--duration-s"),
    ],
)
def test_wrong_usage_exits_with_2_and_one_line(arguments: tuple[str, ...], words: str) -> None:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as exit_:
        cli.main(["pseudolabel", *arguments])

    assert exit_.value.code == 2
    assert words in said.getvalue()
    assert said.getvalue().count("\n") == 1
