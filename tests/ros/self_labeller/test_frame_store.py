"""Kept frames: the file, the quota, and a writer that is killed again and again."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import EncodedImage, encode_jpeg
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.labelling.selection.frame_file import KeptFrame, read_frame, write_frame
from lidarloop_core.labelling.selection.frame_store import FrameStore, Quota, stored_frames
from lidarloop_core.sample import CameraImage, Sample, Sweep
from lidarloop_training.data.kept_frames.reader import KeptFramesSource
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud

CLASS_NAMES = ("car", "bicycle")
S = 1_000_000_000


def frame(stamp_ns: int, value: float, *, num_points: int = 50) -> KeptFrame:
    random = np.random.default_rng(stamp_ns % 1000)
    picture = random.integers(0, 255, (12, 20, 3)).astype(np.uint8)
    mounting = SE3.from_yaw(0.2, (0.9, 0.0, 1.8))
    sweeps = tuple(
        Sweep(
            random.normal(size=(num_points - i, 4)).astype(np.float32),
            ("x", "y", "z", "intensity"),
            stamp_ns - i * S // 10,
            mounting,
            SE3.from_yaw(0.1 * i, (i, 2, 3)) if i == 0 else None,
        )
        for i in range(2)
    )
    camera = CameraImage(
        "CAM_FRONT", encode_jpeg(picture), np.diag([9.0, 9.0, 1.0]), 20, 12, stamp_ns + 7, mounting, SE3.identity()
    )
    values = random.random((3, 9)).astype(np.float32)
    values[0, 7:] = np.nan
    labels = PseudoLabels(
        Boxes3D(values, random.random(3).astype(np.float32), np.array([0, 1, 1]), CLASS_NAMES),
        np.array([0.1, 0.5, 1.0], np.float32),
        np.array([4, 5, 6]),
        (("CAM_FRONT",), (), ("CAM_FRONT", "CAM_BACK")),
        ("lane", "none", "track"),
    )
    sample = Sample(str(stamp_ns), "drive", stamp_ns, sweeps, (camera,))
    return KeptFrame(sample, labels, value, ("rare class: bicycle",), ("CAM_BACK: no image",), {"model": "ab"})


def test_a_frame_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = frame(5 * S, 0.25)
    write_frame(tmp_path / "f", kept)
    back = read_frame(tmp_path / "f")
    for ours, theirs in zip(kept.sample.sweeps, back.sample.sweeps, strict=True):
        np.testing.assert_array_equal(theirs.points, ours.points)
        assert (theirs.columns, theirs.stamp_ns) == (ours.columns, ours.stamp_ns)
        np.testing.assert_array_equal(theirs.ego_SE3_lidar.matrix, ours.ego_SE3_lidar.matrix)
    assert back.sample.keyframe.world_SE3_ego is not None
    assert back.sample.sweeps[1].world_SE3_ego is None
    (camera,), (original,) = back.sample.cameras, kept.sample.cameras
    assert isinstance(camera.load, EncodedImage)
    assert isinstance(original.load, EncodedImage)
    assert camera.load.data == original.load.data  # the camera's own bytes, not compressed again
    assert (camera.name, camera.width, camera.height, camera.stamp_ns) == ("CAM_FRONT", 20, 12, 5 * S + 7)
    np.testing.assert_array_equal(camera.intrinsics, original.intrinsics)
    for name in ("values", "scores", "labels", "class_names"):
        np.testing.assert_array_equal(getattr(back.labels.boxes, name), getattr(kept.labels.boxes, name))
    np.testing.assert_array_equal(back.labels.quality, kept.labels.quality)
    np.testing.assert_array_equal(back.labels.num_points, kept.labels.num_points)
    assert (back.labels.cameras, back.labels.yaw_sources) == (kept.labels.cameras, kept.labels.yaw_sources)
    assert (back.value, back.reasons, back.degraded) == (0.25, kept.reasons, kept.degraded)
    assert back.provenance == {"model": "ab"}
    assert back.sample.annotations is not None
    np.testing.assert_array_equal(back.sample.annotations.boxes.values, kept.labels.boxes.values)


def test_any_tool_opens_a_frame(tmp_path: Path) -> None:
    write_frame(tmp_path / "f", frame(S, 0.5))
    with zipfile.ZipFile(tmp_path / "f") as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {"frame.json", "sweep-00.npy", "sweep-01.npy", "CAM_FRONT.jpg"}


@pytest.mark.parametrize("damage", ["truncated", "a flipped bit", "foreign", "missing"])
def test_damage_is_noticed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "f"
    write_frame(path, frame(S, 0.5))
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "a flipped bit":
        at = data.index(b"\x93NUMPY") + 300  # in the middle of the points
        data[at] ^= 4
        path.write_bytes(data)
    elif damage == "foreign":
        path.write_bytes(b"PNG")
    else:
        path.unlink()
    with pytest.raises(DatasetError, match="no readable frame"):
        read_frame(path)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12), st.integers(1, 6))
@pytest.mark.fault("label_disk")
def test_the_quota_keeps_the_most_valuable(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], room: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    size = write_size(tmp_path_factory.mktemp("one"))
    store = FrameStore(folder, Quota(max_bytes=room * size + size // 2, min_free_bytes=0))
    expected: list[tuple[int, int]] = []  # value, stamp
    for i, value in enumerate(values, 1):
        kept = store.keep(dataclasses.replace(frame(1000 * S, value / 1000), sample=stamped(i * 1000 * S)))
        expected = sorted([*expected, (value, i)])[-room:]
        assert (kept is not None) == ((value, i) in expected)
        assert sorted((round(f.value * 1000), f.stamp_ns // S // 1000) for f in store.frames) == expected
        assert stored_frames(folder) == store.frames
        assert store.num_bytes <= store.quota.max_bytes


def stamped(stamp_ns: int) -> Sample:
    return dataclasses.replace(frame(1000 * S, 0).sample, stamp_ns=stamp_ns, token="1000000000000")


def write_size(folder: Path) -> int:
    write_frame(folder / "f", dataclasses.replace(frame(1000 * S, 0.5), sample=stamped(1000 * S)))
    return (folder / "f").stat().st_size


def test_old_frames_are_let_go(tmp_path: Path) -> None:
    store = FrameStore(tmp_path, Quota(max_age_s=10, min_free_bytes=0))
    for second in (1, 5, 12):
        store.keep(frame(second * S, 1.0))
    assert [f.stamp_ns // S for f in store.frames] == [5, 12]


def test_a_full_disk_is_an_error_and_harms_nothing(tmp_path: Path) -> None:
    store = FrameStore(tmp_path, Quota(min_free_bytes=0))
    store.keep(frame(S, 0.5))
    before = list(tmp_path.iterdir())
    full = FrameStore(tmp_path, Quota(min_free_bytes=2**62))
    with pytest.raises(OSError, match="bytes free"):
        full.keep(frame(2 * S, 0.9))
    assert list(tmp_path.iterdir()) == before


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".00000000001000000000-0500.frame.zip.abc.tmp").write_text("half a frame of a killed writer")
    store = FrameStore(tmp_path, Quota(max_bytes=1, min_free_bytes=0))
    assert store.keep(frame(S, 1.0)) is None
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_the_folder_is_a_source(tmp_path: Path) -> None:
    store = FrameStore(tmp_path, Quota(min_free_bytes=0))
    for second in (3, 1, 2):
        store.keep(frame(second * S, second / 10))
    source = KeptFramesSource(tmp_path)
    assert [source[i].stamp_ns // S for i in range(len(source))] == [1, 2, 3]
    assert source.frame(2).value == 0.3
    with pytest.raises(DatasetError, match="holds no kept frames"):
        KeptFramesSource(tmp_path / "missing")


WRITER = """
import dataclasses, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.ros.self_labeller.test_frame_store import FrameStore, Quota, S, frame
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud

folder, rounds = Path(sys.argv[1]), int(sys.argv[3])
kept = frame(S, 0.5, num_points=20_000)
for round in range(rounds):
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        store = FrameStore(folder, Quota(min_free_bytes=0))
        for number in range(round * 10_000, (round + 1) * 10_000):
            sample = dataclasses.replace(kept.sample, stamp_ns=number)
            store.keep(dataclasses.replace(kept, sample=sample))
            os.write(write_end, f"{number} ".encode())
    os.close(write_end)
    chance = random.Random(round)
    with os.fdopen(read_end) as finished:
        said = "".join(finished.read(1) for _ in range(chance.randint(1, 20)))  # some frames are on disk now
        time.sleep(chance.uniform(0, 0.02))  # and another is somewhere on its way
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        sys.stdout.write(said + finished.read())
"""


@pytest.mark.fault("kill_while_writing")
def test_a_writer_killed_sixty_times_leaves_no_broken_and_loses_no_finished_frame(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    command = [sys.executable, "-c", WRITER, str(folder), str(Path(__file__).parents[3]), "60"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    finished = {int(number) for number in result.stdout.split()}
    assert len(finished) >= 60
    present = {stored.stamp_ns for stored in stored_frames(folder)}
    assert finished <= present
    assert len(present - finished) <= 60  # renamed, but killed before it could say so
    for stored in stored_frames(folder):
        assert read_frame(stored.path).sample.keyframe.points.shape == (20_000, 4)
    FrameStore(folder, Quota(min_free_bytes=0))
    assert not list(folder.glob(".*"))


def test_a_frame_that_is_gone_is_no_frame_and_a_dead_link_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node deletes frames while another program lists the folder."""
    store = FrameStore(tmp_path, Quota(min_free_bytes=0))
    kept, gone = store.keep(frame(S, 0.5)), store.keep(frame(2 * S, 0.5))
    assert kept is not None
    assert gone is not None
    gone.unlink()
    monkeypatch.setattr(Path, "iterdir", lambda self: iter([gone, kept]))
    assert [stored.path for stored in stored_frames(tmp_path)] == [kept]
    kept.unlink()
    kept.symlink_to("nowhere")
    with pytest.raises(DatasetError, match="is no readable frame"):
        KeptFramesSource(tmp_path)[0]


def test_kept_frames_become_a_bag_and_tables(tmp_path: Path) -> None:
    from lidarloop_core.io.bag import BagReader
    from lidarloop_training.data.convert.bag import convert_to_bag
    from lidarloop_training.data.convert.options import TablesLayout
    from lidarloop_training.data.convert.tables import convert_to_tables
    from lidarloop_training.data.drive_spec import KeptFrames
    from lidarloop_training.data.nuscenes.reader import NuScenesSource

    store = FrameStore(tmp_path / "kept", Quota(min_free_bytes=0))
    for second in (1, 2):
        store.keep(frame(second * S, 0.5))
    convert_to_bag(KeptFrames(tmp_path / "kept"), tmp_path / "drive.mcap")
    with BagReader(tmp_path / "drive.mcap") as bag:
        assert bag.message_counts["/lidar/points"] == 4  # the older sweep of each is a cloud too
    convert_to_tables(KeptFrames(tmp_path / "kept"), tmp_path / "tables", TablesLayout(keyframe_every=1))
    tables = NuScenesSource(tmp_path / "tables", num_sweeps=1)
    assert [len(tables[i].annotations.boxes) for i in range(len(tables))] == [3, 3]


def test_names_labels_and_poses_need_no_cloud(tmp_path: Path) -> None:
    for number in range(3):
        FrameStore(tmp_path, Quota(min_free_bytes=0)).keep(frame((number + 1) * S, 0.5))
    source = KeptFramesSource(tmp_path)
    assert len(source) == 3
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_core.labelling.selection.frame_file._sweep")
