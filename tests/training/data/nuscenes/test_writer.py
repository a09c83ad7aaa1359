from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_training.data.nuscenes.reader import NuScenesSource, open_nuscenes
from lidarloop_training.data.nuscenes.writer import plan, write_nuscenes
from tests.training.sources import MadeSource, assert_names_labels_and_poses_need_no_cloud

if TYPE_CHECKING:
    from lidarloop_core.sample import Sample
    from tests.training.street import StreetSource


VERSION = "v1.0-mini"


def _read(root: Path, table: str) -> list[dict]:
    return json.loads((root / VERSION / f"{table}.json").read_text())


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def test_round_trip(street: StreetSource, tmp_path: Path) -> None:
    root = write_nuscenes(street, tmp_path / "town", keyframe_every=5)
    read = NuScenesSource(root, num_sweeps=3)
    assert len(read) == 3
    for sample, index in zip((read[i] for i in range(3)), (0, 5, 10), strict=True):
        expected = street[index]
        assert sample.scene == street.scene
        assert sample.stamp_ns == expected.stamp_ns
        np.testing.assert_array_equal(sample.keyframe.points, expected.keyframe.points)
        np.testing.assert_allclose(
            sample.keyframe.world_SE3_ego.matrix, expected.keyframe.world_SE3_ego.matrix, atol=1e-9
        )
        np.testing.assert_allclose(
            sample.keyframe.ego_SE3_lidar.matrix, expected.keyframe.ego_SE3_lidar.matrix, atol=1e-9
        )
        got, want = sample.annotations, expected.annotations
        assert got.boxes.names == want.boxes.names
        np.testing.assert_allclose(got.boxes.values[:, :7], want.boxes.values[:, :7], atol=2e-5)
        # Constant velocities: differencing neighbours gives them back; the slope of the LiDAR costs nothing in 3D.
        np.testing.assert_allclose(got.boxes.velocities, want.boxes.velocities, atol=2e-4)
        np.testing.assert_array_equal(got.num_lidar_pts, want.num_lidar_pts)
        assert np.abs(got.visibility - want.visibility).max() <= 0.2 + 1e-6
        assert [s.stamp_ns for s in sample.sweeps] == [street[i].stamp_ns for i in range(index, max(index - 3, -1), -1)]
        (image,) = sample.cameras
        assert (image.name, image.width, image.height) == ("CAM_FRONT", 96, 64)
        assert np.abs(image.load().astype(int) - street.pixels(index).astype(int)).mean() < 8  # JPEG


def test_tables_are_linked(street: StreetSource, tmp_path: Path) -> None:
    root = write_nuscenes(street, tmp_path / "town")
    annotations = {r["token"]: r for r in _read(root, "sample_annotation")}
    for instance in _read(root, "instance"):
        chain, token = [], instance["first_annotation_token"]
        while token:
            chain.append(token)
            assert annotations[token]["instance_token"] == instance["token"]
            token = annotations[token]["next"]
        assert chain[-1] == instance["last_annotation_token"]
        assert len(chain) == instance["nbr_annotations"] == 3
        assert [annotations[t]["prev"] for t in chain] == ["", *chain[:-1]]
    for table in (
        "sample",
        "sample_data",
        "ego_pose",
        "sample_annotation",
        "instance",
        "scene",
        "log",
        "map",
        "sensor",
    ):
        tokens = [r["token"] for r in _read(root, table)]
        assert len(set(tokens)) == len(tokens) > 0
        assert all(len(t) == 32 and int(t, 16) >= 0 for t in tokens)


def test_attributes_follow_the_motion(street: StreetSource, tmp_path: Path) -> None:
    root = write_nuscenes(street, tmp_path / "town")
    names = {r["token"]: r["name"] for r in _read(root, "attribute")}
    categories = {r["token"]: r["name"] for r in _read(root, "category")}
    kinds = {r["token"]: categories[r["category_token"]] for r in _read(root, "instance")}
    got = {
        (kinds[r["instance_token"]], *(names[t] for t in r["attribute_tokens"]))
        for r in _read(root, "sample_annotation")
    }
    assert got == {
        ("human.pedestrian.adult", "pedestrian.moving"),
        ("vehicle.car", "vehicle.moving"),
        ("vehicle.car", "vehicle.parked"),
        ("movable_object.trafficcone",),
        ("vehicle.bicycle", "cycle.with_rider"),
    }


def test_only_the_frames_that_are_needed_are_touched(street: StreetSource, tmp_path: Path) -> None:
    touched = []

    class Watched(MadeSource):
        def __len__(self) -> int:
            return len(street)

        def __getitem__(self, index: int) -> Sample:
            touched.append(index)
            return street[index]

    write_nuscenes(Watched(), tmp_path / "town", keyframe_every=5, sweeps_per_keyframe=2)
    assert touched == [0, 3, 4, 5, 8, 9, 10]
    assert [s.stamp_ns for s in NuScenesSource(tmp_path / "town", num_sweeps=3)[1].sweeps] == [
        street[i].stamp_ns for i in (5, 4, 3)
    ]


@pytest.mark.parametrize(
    ("every", "kept", "expected"),
    [(1, None, list(range(6))), (1, 3, list(range(6))), (3, 0, [0, 3]), (3, 1, [0, 2, 3]), (3, None, list(range(6)))],
)
def test_plan(every: int, kept: int | None, expected: list[int]) -> None:
    assert [need.index for need in plan(6, every, kept, cameras=True)] == expected


def test_same_bytes_every_time_and_with_any_number_of_workers(make_street: type[StreetSource], tmp_path: Path) -> None:
    streets = [make_street(), make_street("street-0002", num_frames=7)]
    for name, workers in (("a", 0), ("b", 0), ("c", 2)):
        write_nuscenes(streets, tmp_path / name, num_workers=workers)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b") == _digest(tmp_path / "c")
    assert {r["name"] for r in _read(tmp_path / "a", "scene")} == {"street-0001", "street-0002"}
    assert len(NuScenesSource(tmp_path / "a", scenes=["street-0002"])) == 2


def test_a_folder_of_drives_is_one_source(make_street: type[StreetSource], tmp_path: Path) -> None:
    for i in (1, 2):
        write_nuscenes(make_street(f"street-{i:04d}"), tmp_path / "drives" / f"drive-{i}")
    source = open_nuscenes(tmp_path / "drives", cameras=False)
    assert [source[i].scene for i in range(len(source))] == ["street-0001"] * 3 + ["street-0002"] * 3
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[4].keyframe.points, source[4].keyframe.points)
    assert not source[0].cameras


def test_nothing_half_written_stays(make_street: type[StreetSource], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="ego pose"):
        write_nuscenes([make_street(), make_street("street-0002", has_motion=False)], tmp_path / "town")
    with pytest.raises(DatasetError, match="annotations"):
        write_nuscenes(make_street(labelled=False), tmp_path / "town")
    assert list(tmp_path.iterdir()) == []


def test_only_our_own_folder_is_overwritten(make_street: type[StreetSource], tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    with pytest.raises(DatasetError, match="not written by lidarloop"):
        write_nuscenes(make_street(), tmp_path / "foreign", overwrite=True)
    write_nuscenes(make_street(), tmp_path / "ours")
    with pytest.raises(DatasetError, match="--overwrite"):
        write_nuscenes(make_street("other"), tmp_path / "ours")
    write_nuscenes(make_street("other"), tmp_path / "ours", overwrite=True)
    assert NuScenesSource(tmp_path / "ours")[0].scene == "other"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["foreign", "ours"]


def test_read_errors_name_the_file(street: StreetSource, tmp_path: Path) -> None:
    root = write_nuscenes(street, tmp_path / "town")
    cloud = next((root / "samples" / "LIDAR_TOP").iterdir())
    cloud.write_bytes(cloud.read_bytes()[:-3])
    with pytest.raises(DatasetError, match=f"{cloud.name}.*truncated"):
        list(map(NuScenesSource(root).__getitem__, range(3)))
    cloud.unlink()
    with pytest.raises(DatasetError, match=cloud.name):
        list(map(NuScenesSource(root).__getitem__, range(3)))
    poses = root / VERSION / "ego_pose.json"
    records = json.loads(poses.read_text())
    poses.write_text(json.dumps(records[1:]))
    with pytest.raises(DatasetError, match=records[0]["token"]):
        NuScenesSource(root)
    poses.unlink()
    with pytest.raises(DatasetError, match=r"ego_pose\.json"):
        NuScenesSource(root)
    with pytest.raises(DatasetError, match="no nuScenes tables"):
        open_nuscenes(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="scene names other"):
        NuScenesSource(write_nuscenes(street, tmp_path / "again"), scenes=["other"])


def test_unknown_velocity_is_nan(make_street: type[StreetSource], tmp_path: Path) -> None:
    root = write_nuscenes(make_street(num_frames=4), tmp_path / "town")
    assert np.isnan(NuScenesSource(root)[0].annotations.boxes.velocities).all()
    root = write_nuscenes(make_street(num_frames=33), tmp_path / "slow", keyframe_every=16)
    velocities = [s.annotations.boxes.velocities for s in map(NuScenesSource(root).__getitem__, range(3))]
    # 1.6 s to the one neighbour is too far, 3.2 s over both would be within 2 × 1.5 s only below 3.0 s.
    assert all(np.isnan(v).all() for v in velocities)


def test_missing_num_lidar_pts_is_counted(street: StreetSource, tmp_path: Path) -> None:
    class Uncounted(MadeSource):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            sample = street[index]
            assert sample.annotations is not None
            unknown = np.full(len(sample.annotations.boxes), -1, np.int64)
            return dataclasses.replace(
                sample, annotations=dataclasses.replace(sample.annotations, num_lidar_pts=unknown)
            )

    root = write_nuscenes(Uncounted(), tmp_path / "town")
    assert (NuScenesSource(root)[0].annotations.num_lidar_pts >= 1).all()  # the fixture puts a point into each box


def test_official_devkit_agrees(street: StreetSource, tmp_path: Path) -> None:
    devkit = pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit is not installed")
    from nuscenes.utils.data_classes import LidarPointCloud

    root = write_nuscenes(street, tmp_path / "town")
    nusc = devkit.NuScenes(VERSION, str(root), verbose=False)
    source = NuScenesSource(root, num_sweeps=3)
    for i, record in enumerate(nusc.sample):
        sample, expected = source[i], street[5 * i].annotations.boxes
        assert sample.token == record["token"]
        _, boxes, _ = nusc.get_sample_data(record["data"]["LIDAR_TOP"])
        assert len(boxes) == len(expected)
        for box, value in zip(boxes, expected.values, strict=True):
            np.testing.assert_allclose(box.center, value[:3], atol=1e-4)
            np.testing.assert_allclose(box.wlh, value[[4, 3, 5]], atol=1e-4)
            heading = box.orientation.rotation_matrix[:2, 0]  # upright in the world, a little tilted here
            np.testing.assert_allclose(np.arctan2(heading[1], heading[0]), value[6], atol=1e-5)
        lidar = nusc.get("sample_data", record["data"]["LIDAR_TOP"])
        pose = nusc.get("ego_pose", lidar["ego_pose_token"])
        mounting = nusc.get("calibrated_sensor", lidar["calibrated_sensor_token"])
        lidar_SE3_world = (
            SE3.from_wxyz(pose["rotation"], pose["translation"])
            @ SE3.from_wxyz(mounting["rotation"], mounting["translation"])
        ).inverse()
        velocity = np.array([nusc.box_velocity(b.token) for b in boxes])
        np.testing.assert_allclose(
            sample.annotations.boxes.velocities, lidar_SE3_world.rotate(velocity)[:, :2], atol=1e-5
        )
        cloud, ages = LidarPointCloud.from_file_multisweep(
            nusc, record, "LIDAR_TOP", "LIDAR_TOP", nsweeps=3, min_distance=0
        )
        np.testing.assert_allclose(
            cloud.points[:, : len(sample.keyframe.points)].T, sample.keyframe.points[:, :4], atol=1e-4
        )
        assert np.unique(ages.round(6)).tolist() == [0.0, 0.1, 0.2][: len(sample.sweeps)]
        front = nusc.get_sample_data(record["data"]["CAM_FRONT"])
        assert Path(front[0]).is_file()
        np.testing.assert_allclose(front[2], sample.cameras[0].intrinsics)


def test_official_map_reader_agrees(street: StreetSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    map_api = pytest.importorskip("nuscenes.map_expansion.map_api", reason="nuscenes-devkit is not installed")
    from nuscenes.map_expansion.arcline_path_utils import discretize_lane

    root = write_nuscenes(street, tmp_path / "town")
    monkeypatch.setattr(map_api, "locations", [*map_api.locations, street.scene])
    nusc_map = map_api.NuScenesMap(str(root), street.scene)
    lane_map = NuScenesSource(root)[0].lane_map
    assert list(lane_map.lane_ids) == list(nusc_map.arcline_path_3)
    first, second = lane_map.lane_ids
    assert nusc_map.connectivity[first]["outgoing"] == [second]
    for lane, line in zip(lane_map.lane_ids, lane_map.centerlines, strict=True):
        theirs = np.array(discretize_lane(nusc_map.get_arcline_path(lane), 0.5))
        distance = np.linalg.norm(theirs[:, None, :2] - line[None, :, :2], axis=2)
        assert distance.min(axis=1).max() < 0.01
    assert nusc_map.layers_on_point(5.0, 0.5)["lane"] == first
    assert nusc_map.layers_on_point(5.0, 12.0)["drivable_area"] != ""


def test_names_labels_and_poses_need_no_cloud(make_street: type[StreetSource], tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_nuscenes(make_street(name), tmp_path / name, keyframe_every=3)
    source = open_nuscenes(tmp_path, num_sweeps=2)
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.nuscenes.reader.read_format")
    assert [key.drive for key in source.keys] == ["first"] * 5 + ["second"] * 5
