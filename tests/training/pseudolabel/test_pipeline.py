from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.io.results import read_results
from lidarloop_training.data.writing.pseudo_labels import EVIDENCE, read_drive
from lidarloop_training.pseudolabel.executors.local import work_locally
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.labeller import Work
from lidarloop_training.pseudolabel.manifest import MANIFEST, SEGMENTS, remove_run, segments_of
from lidarloop_training.pseudolabel.pipeline import label_drives


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class _Interrupted(Exception):
    pass


class Counting:
    """The local executor, which notes what it does and may be stopped after a number of pieces."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.done: list[str] = []
        self.stop_after = stop_after

    def __call__(self, job: LabelJob, pieces: Sequence[Work]) -> Iterator[tuple[Work, bytes]]:
        for piece, document in work_locally(job, pieces):
            self.done.append(piece.name)
            yield piece, document
            if len(self.done) == self.stop_after:
                raise _Interrupted


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, job: LabelJob) -> Path:
    """A run without interruption."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    label_drives(job, out, work_locally)
    return out


def test_two_workers_write_the_same_bytes_as_one(whole: Path, job: LabelJob, tmp_path: Path) -> None:
    label_drives(job, tmp_path / "two", partial(work_locally, num_workers=2))

    assert files_of(tmp_path / "two") == files_of(whole)


def test_an_interrupted_run_goes_on_and_redoes_nothing(whole: Path, job: LabelJob, tmp_path: Path) -> None:
    first, second, third = Counting(stop_after=2), Counting(), Counting()
    with pytest.raises(_Interrupted):
        label_drives(job, tmp_path / "run", first)
    assert not list((tmp_path / "run").glob(f"*/{EVIDENCE}"))

    label_drives(job, tmp_path / "run", second)
    label_drives(job, tmp_path / "run", third)

    assert first.done == ["000000-000000", "000001-000001"]
    assert second.done == ["000002-000002", "000003-000003", "toytown-3000"]
    assert third.done == []
    assert files_of(tmp_path / "run") == files_of(whole)


def test_a_drive_whose_last_file_is_missing_is_finished(whole: Path, job: LabelJob, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    (labels,) = (tmp_path / "run").glob("*/labels.json")
    labels.with_name(EVIDENCE).unlink()
    labels.write_bytes(b"half a file of a run that was killed")

    again = Counting()
    label_drives(job, tmp_path / "run", again)

    assert again.done == ["toytown-3000"]
    assert files_of(tmp_path / "run") == files_of(whole)


@pytest.mark.parametrize("content", ["null", "[" * 100_000, "no JSON"], ids=lambda text: text[:9])
def test_a_manifest_of_another_form_is_refused(whole: Path, job: LabelJob, tmp_path: Path, content: str) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / MANIFEST).write_text(content)
    with pytest.raises(DatasetError, match="is no manifest"):
        label_drives(job, out, work_locally)


def test_a_changed_configuration_is_refused_with_the_remedy(whole: Path, job: LabelJob) -> None:
    before = files_of(whole)
    other = dataclasses.replace(job, lifting=dataclasses.replace(job.lifting, num_sweeps=1))

    with pytest.raises(ConfigError, match=r"lifting.num_sweeps: was 3, now 1.*another folder, or pass --overwrite"):
        label_drives(other, whole, work_locally)

    assert files_of(whole) == before


def test_a_run_that_has_finished_nothing_may_be_changed(whole: Path, job: LabelJob, tmp_path: Path) -> None:
    other = dataclasses.replace(job, lifting=dataclasses.replace(job.lifting, num_sweeps=1))
    with pytest.raises(_Interrupted):
        label_drives(other, tmp_path / "run", _broken_executor)

    label_drives(job, tmp_path / "run", work_locally)

    assert files_of(tmp_path / "run") == files_of(whole)


def _broken_executor(job: LabelJob, pieces: Sequence[Work]) -> Iterator[tuple[Work, bytes]]:
    raise _Interrupted
    yield


def test_a_folder_with_something_else_is_not_touched(job: LabelJob, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(DatasetError, match="holds no labelling run"):
        label_drives(job, tmp_path, work_locally)
    with pytest.raises(DatasetError, match="holds no labelling run"):
        remove_run(tmp_path)

    assert files_of(tmp_path) == {"notes.txt": b"mine"}


def test_removing_a_run_leaves_what_is_not_ours(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    (labels,) = (tmp_path / "run").glob("*/labels.json")
    (labels.parent / "notes.txt").write_text("mine")

    remove_run(tmp_path / "run")

    assert set(files_of(tmp_path / "run")) == {f"{labels.parent.name}/notes.txt"}


def test_labels_and_evidence_fit_the_drive(whole: Path, job: LabelJob) -> None:
    (path,) = whole.glob("*/labels.json")
    drive, source = read_drive(path), job.open_drive()

    assert list(drive.labels) == [source[i].token for i in range(len(source))]
    assert list(drive.stamps_ns.values()) == [source[i].stamp_ns for i in range(len(source))]
    assert drive.meta["frame"] == "world"
    assert drive.meta["run"] == json.loads((whole / MANIFEST).read_text())["sha256"]
    assert sum(map(len, drive.labels.values())) > 10
    boxes, _ = read_results(path)
    for token, labels in drive.labels.items():
        np.testing.assert_array_equal(labels.boxes.values, boxes[token].values)
        assert ((labels.quality >= 0) & (labels.quality <= 1)).all()


def test_refinement_comes_after_the_last_segment(whole: Path, job: LabelJob, tmp_path: Path) -> None:
    unrefined = dataclasses.replace(job, refinement=None)
    (path,) = label_drives(unrefined, tmp_path / "plain", work_locally)

    (refined_path,) = whole.glob("*/labels.json")
    plain, refined = read_drive(path), read_drive(refined_path)
    assert all(source == "box_fit" for labels in plain.labels.values() for source in labels.yaw_sources)
    assert not any(labels.boxes.velocities.any() for labels in plain.labels.values())
    assert any("track" in labels.yaw_sources for labels in refined.labels.values())
    names = [{p.name.split(".")[0] for p in (out / SEGMENTS).iterdir()} for out in (tmp_path / "plain", whole)]
    assert names[0] == names[1]


@pytest.mark.parametrize(("num_frames", "every", "size"), [(8, 1, 3), (200, 5, 20), (1, 5, 20), (41, 5, 4)])
def test_segments_cover_each_labelled_frame_once(num_frames: int, every: int, size: int) -> None:
    segments = segments_of(num_frames, every, size)

    assert [i for segment in segments for i in segment.frames] == list(range(0, num_frames, every))
    assert all(len(segment.frames) == size for segment in segments[:-1])
