"""A value out of its range, or an output that is an input: one line and no exit code of 0, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="no torch here: pip install lidarloop[train]")

from lidarloop_core.cli import main

VALUES = [
    "train pillar-smoke --optimisation.batch-size 0",
    "train pillar-smoke --optimisation.num-steps 0",
    "train pillar-smoke --optimisation.max-gradient-norm nan",
    "train pillar-smoke --optimisation.schedule.peak-learning-rate inf",
    "train pillar-smoke --optimisation.schedule.beta1 1 1",
    "train pillar-smoke --run.log-every 0",
    "train pillar-smoke --run.num-workers -1",
    "train pillar-smoke --seed -1",
    "train pillar-smoke --labels.percent nan",
    "train pillar-smoke --data.duration-s nan",
    "train pillar-smoke --data.num-processes 0",
    "train pillar-smoke --task.spec.grid.cell-size-m 0 0",
    "train pillar-smoke --task.spec.grid.cell-size-m nan nan",
    "train pillar-smoke --task.augment.max-rotation-rad nan",
    "train pillar-smoke --task.loss.code-weights 1 1",
    "train pillar-smoke --task.network.stage-channels 8",
    "train pillar-smoke --task.network.neck-channels 0",
    "train pillar-smoke --task.copy-paste.max-kept 0",
    "self-train smoke --num-rounds -1",
    "self-train smoke --min-score nan",
    "convert toytown 7 OUT --duration-s nan",
    "convert toytown 7 OUT --duration-s inf",
    "convert toytown 7 OUT --rate-hz nan",
    "convert toytown -1 OUT",
    "convert toytown 7 OUT --keyframe-every 0",
    "pseudolabel toytown 7 --out OUT --duration-s nan",
    "optimise MODEL OUT --frames 0",
    "optimise MODEL OUT --budget nan",
    "parity MODEL --drive toytown 3301 --frames 0",
]

OUTPUTS = [
    "optimise MODEL MODEL --precision fp16",
    "optimise MODEL LINK",
    "parity MODEL --drive toytown 3301 --json MODEL",
    "parity MODEL --drive toytown 3301 --json LINK --variants LINK",
    "convert bag MODEL.mcap MODEL.mcap --overwrite",
    "convert nuscenes tables tables --overwrite",
    "convert nuscenes tables/drive tables --overwrite",
    "corrections receive MODEL --out MODEL --overwrite",
    "corrections send nuscenes tables --results MODEL --out tables",
    "evaluate metrics.json tables --out .",
    "view nuscenes tables --results MODEL --save MODEL",
    "pseudolabel nuscenes tables --sensors lidar --out tables",
]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one file of a few names, and a folder of tables."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "MODEL"
    path.write_bytes(b"original")
    (tmp_path / "LINK").symlink_to(path)
    for name in ("MODEL.mcap", "metrics.json"):
        (tmp_path / name).write_bytes(b"original")
    (tmp_path / "tables" / "drive").mkdir(parents=True)
    return path


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def exit_code(command: str) -> int:
    """Values that the command line itself refuses leave by SystemExit."""
    try:
        return main(command.split())
    except SystemExit as error:
        return int(error.code or 0)


@pytest.mark.parametrize("command", VALUES)
def test_a_value_out_of_range_is_one_line(command: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(model.parent)
    assert exit_code(command) in (1, 2)
    complaint = capsys.readouterr().err.strip()
    assert complaint.startswith("lidarloop ")
    assert "expected" in complaint
    assert len(complaint.splitlines()) == 1
    assert contents(model.parent) == before


@pytest.mark.parametrize("command", OUTPUTS)
def test_an_output_that_is_an_input_is_refused(command: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(model.parent)
    assert main(command.split()) == 1
    complaint = capsys.readouterr().err.strip()
    assert "which is what is read" in complaint or "which is read" in complaint
    assert len(complaint.splitlines()) == 1
    assert contents(model.parent) == before
