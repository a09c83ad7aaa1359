"""Keeping frames: what is kept, and what a disk that refuses does to it. Real files, no ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.labelling.selection.frame_file import read_frame
from lidarloop_core.labelling.selection.frame_store import Quota, stored_frames
from lidarloop_core.sample import Sample, Sweep
from lidarloop_ros.self_labeller.frame_keeper import FrameKeeper, KeeperReport, KeepRule
from lidarloop_ros.self_labeller.pipeline import LabelledSample

CLASS_NAMES = ("car", "bicycle")
S = 1_000_000_000
QUOTA = Quota(min_free_bytes=0)


def labelled(stamp_ns: int, *, num_labels: int = 6) -> LabelledSample:
    points = np.random.default_rng(stamp_ns // S).uniform(-30, 30, (500, 4)).astype(np.float32)
    sweep = Sweep(points, ("x", "y", "z", "intensity"), stamp_ns, SE3.identity(), None)
    values = np.zeros((num_labels, 9), np.float32)
    values[:, 0] = 10 * np.arange(num_labels)
    boxes = Boxes3D(values, np.ones(num_labels, np.float32), np.zeros(num_labels, np.int64), CLASS_NAMES)
    ones = np.ones(num_labels, np.int64)
    labels = PseudoLabels(boxes, np.ones(num_labels, np.float32), ones, ((),) * num_labels, ("none",) * num_labels)
    return LabelledSample(Sample(str(stamp_ns), "drive", stamp_ns, (sweep,)), labels, LeftOut(), ("CAM: no image",), {})


@pytest.fixture
def start() -> Iterator[Callable[..., FrameKeeper]]:
    keepers: list[FrameKeeper] = []

    def start(folder: Path, rule: KeepRule | None = None, quota: Quota = QUOTA) -> FrameKeeper:
        keepers.append(
            FrameKeeper(folder, quota, rule or KeepRule(min_interval_s=0.5, retry_after_s=0.0), {"by": "test"})
        )
        return keepers[-1]

    yield start
    for keeper in keepers:
        keeper.stop()


def wait_for(keeper: FrameKeeper, condition: Callable[[KeeperReport], bool]) -> KeeperReport:
    deadline = time.monotonic() + 30
    while not condition(report := keeper.report):
        assert time.monotonic() < deadline, report
        time.sleep(0.005)
    return report


def nothing() -> Boxes3D:
    return Boxes3D.empty(CLASS_NAMES)


def test_a_frame_of_high_value_is_kept_with_its_reasons_and_provenance(
    start: Callable[..., FrameKeeper], tmp_path: Path
) -> None:
    keeper = start(tmp_path / "kept")
    keeper.offer(labelled(S), nothing())
    report = wait_for(keeper, lambda report: report.num_kept == 1)
    (stored,) = stored_frames(tmp_path / "kept")
    assert (report.num_frames, report.num_bytes, report.problem) == (1, stored.num_bytes, "")
    frame = read_frame(stored.path)
    assert frame.sample.token == str(S)
    assert frame.degraded == ("CAM: no image",)
    assert frame.provenance == {"by": "test"}
    assert frame.reasons[0] == "novel scene: the first"
    assert "disagreement: 6 labels without a detection, 0 detections without a label" in frame.reasons


def test_frames_of_low_value_or_too_soon_are_counted(start: Callable[..., FrameKeeper], tmp_path: Path) -> None:
    keeper = start(tmp_path)
    keeper.offer(labelled(S), nothing())
    keeper.offer(labelled(S + S // 10), nothing())  # a tenth of a second later
    agreed = labelled(3 * S)
    keeper.offer(agreed, agreed.labels.boxes)
    report = wait_for(keeper, lambda report: report.num_kept == 1)
    assert report.num_offered == 3
    assert report.not_kept == {"too soon after another": 1, "value too low": 1}


@pytest.mark.fault("label_disk")
def test_a_folder_that_cannot_be_made_pauses_keeping_which_resumes_by_itself(
    start: Callable[..., FrameKeeper], tmp_path: Path
) -> None:
    in_the_way = tmp_path / "kept"
    in_the_way.write_text("a file where the folder should be")
    keeper = start(in_the_way)
    keeper.offer(labelled(S), nothing())
    report = wait_for(keeper, lambda report: bool(report.problem))
    assert "keeping is paused" in report.problem
    assert str(in_the_way) in report.problem
    in_the_way.unlink()
    keeper.offer(labelled(2 * S), nothing())
    report = wait_for(keeper, lambda report: report.num_kept == 1)
    assert (report.problem, report.not_kept) == ("", {"the disk refused it": 1})


@pytest.mark.fault("label_disk")
def test_a_full_disk_pauses_keeping(start: Callable[..., FrameKeeper], tmp_path: Path) -> None:
    keeper = start(tmp_path, KeepRule(min_interval_s=0.0, retry_after_s=1e9), Quota(min_free_bytes=2**62))
    keeper.offer(labelled(S), nothing())
    report = wait_for(keeper, lambda report: bool(report.problem))
    assert "bytes free" in report.problem
    keeper.offer(labelled(2 * S), nothing())
    report = wait_for(keeper, lambda report: len(report.not_kept) == 2)
    assert report.not_kept == {"the disk refused it": 1, "keeping is paused": 1}
    assert not list(tmp_path.iterdir())


@pytest.mark.fault("label_disk")
def test_a_folder_that_is_deleted_under_it_is_made_again(start: Callable[..., FrameKeeper], tmp_path: Path) -> None:
    keeper = start(tmp_path / "kept")
    for number, second in enumerate((1, 3, 5), 1):
        if number == 2:
            (stored,) = stored_frames(tmp_path / "kept")
            stored.path.unlink()
            (tmp_path / "kept").rmdir()
        keeper.offer(labelled(second * S), nothing())
        wait_for(keeper, lambda report: report.num_kept + sum(report.not_kept.values()) == number)  # noqa: B023
    assert [stored.stamp_ns // S for stored in stored_frames(tmp_path / "kept")] == [5]
    assert keeper.report.problem == ""


def test_a_drive_that_starts_over_is_kept_again(start: Callable[..., FrameKeeper], tmp_path: Path) -> None:
    keeper = start(tmp_path)
    keeper.offer(labelled(100 * S), nothing())
    wait_for(keeper, lambda report: report.num_kept == 1)
    keeper.offer(labelled(50 * S), nothing())
    wait_for(keeper, lambda report: report.num_kept == 2)
