from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from shapely import contains_xy
from shapely.geometry import LineString, MultiLineString, Polygon
from shapely.ops import unary_union
from shapely.strtree import STRtree

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import bev_corners, points_in_boxes, wrap_angle
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.pointcloud.deskew import deskewed, motion_during
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.toytown.drive import Clouds, ToyTownDrive
from lidarloop_training.toytown.lidar_styles import HDL32E
from lidarloop_training.toytown.streets.ground import KERB_M
from lidarloop_training.toytown.streets.point_classes import POINT_CLASSES
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud

SEED = 1


@pytest.fixture(scope="module")
def drive() -> ToyTownDrive:
    return ToyTownDrive(SEED, num_sweeps=3)


def fingerprint(sample: Sample, *, picture: bool = False) -> str:
    digest = hashlib.sha256(sample.token.encode())
    for one in sample.sweeps:
        assert one.world_SE3_ego is not None
        digest.update(one.points.tobytes() + one.world_SE3_ego.matrix.tobytes() + str(one.stamp_ns).encode())
    annotations = sample.annotations
    assert annotations is not None
    digest.update(annotations.boxes.values.tobytes() + annotations.num_lidar_pts.tobytes())
    digest.update(annotations.visibility.tobytes() + ",".join(annotations.instance_ids).encode())
    if picture:
        digest.update(sample.cameras[0].load().tobytes())
    return digest.hexdigest()


PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("test_drive", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
drive = module.ToyTownDrive(module.SEED, num_sweeps=3)
print(*(module.fingerprint(drive[i], picture=True) for i in (150, 3, 40)))
"""


def test_a_seed_gives_the_same_bytes_in_any_process_and_order(drive: ToyTownDrive) -> None:
    here = [fingerprint(drive[i], picture=True) for i in (3, 40, 150)]
    run = subprocess.run([sys.executable, "-c", PROGRAM, __file__], capture_output=True, text=True, check=True)
    there = run.stdout.split()
    assert [there[1], there[2], there[0]] == here


def town_digest(drive: ToyTownDrive) -> str:
    """Of the scenery and of the actors with their ways and looks; lengths to a millimetre, for machines round apart."""
    town = drive.town
    meshes = [town.static.mesh, *(actor.shape.mesh for actor in town.actors)]
    poses = [actor.poses(np.array([0.0, 7.0, 20.0])) for actor in town.actors]
    digest = hashlib.sha256()
    for array in (*(mesh.vertices for mesh in meshes), *poses):
        digest.update(np.rint(1e3 * array).astype(np.int64).tobytes())
    for mesh in meshes:
        looks = np.rint(1e4 * np.column_stack([mesh.reflectivity, mesh.dropout])).astype(np.int64)
        digest.update(mesh.colour.tobytes() + mesh.faces.tobytes() + looks.tobytes())
    return digest.hexdigest()


def test_the_plain_town_stays_as_it_was(drive: ToyTownDrive) -> None:
    """Models were trained on it and studies refer to it; the figures are those of the town before it had styles."""
    assert town_digest(drive) == "c1fe6c7d9f464dd2f9d6a20934881ceeba0faaf68791b785f46d37855a71e888"
    scan = drive.scan(40)
    assert np.bincount(scan.label, minlength=16).tolist() == pytest.approx(
        [0, 395, 5910, 2145, 1226, 35, 121, 196, 35, 12, 23, 16109, 473, 121, 1663, 977], abs=2
    )
    np.testing.assert_allclose(scan.points.mean(axis=0), [0.5078, 1.0465, -1.0098, 46.9174, 13.6936], atol=2e-3)
    for camera, expected in {"CAM_FRONT": [126.74, 139.458, 154.39], "CAM_BACK": [99.843, 113.863, 126.333]}.items():
        np.testing.assert_allclose(drive.picture(40, camera).rgb.mean(axis=(0, 1)), expected, atol=0.02)


def test_a_short_drive_is_the_beginning_of_the_long_one(drive: ToyTownDrive) -> None:
    short = ToyTownDrive(SEED, duration_s=1.5, num_sweeps=3)
    assert (len(drive), len(short)) == (200, 15)
    assert fingerprint(short[14]) == fingerprint(drive[14])
    with pytest.raises(IndexError):
        short[15]


def test_another_seed_is_another_drive(drive: ToyTownDrive) -> None:
    other = ToyTownDrive(SEED + 1)
    assert other[0].stamp_ns != drive[0].stamp_ns
    assert not np.array_equal(other[0].keyframe.points[:100], drive[0].keyframe.points[:100])


def test_it_is_a_sample_source_that_pickles(drive: ToyTownDrive) -> None:
    assert isinstance(drive, SampleSource)
    copy = pickle.loads(pickle.dumps(drive))
    assert fingerprint(copy[7]) == fingerprint(drive[7])
    sample = drive[42]
    assert sample.token == "toytown-0001-0042"
    assert sample.scene == "toytown-0001"
    assert sample.stamp_ns - drive[0].stamp_ns == 4_200_000_000
    assert [c.name for c in sample.cameras][:1] == ["CAM_FRONT"]
    assert ToyTownDrive(SEED, cameras=False)[0].cameras == ()


def test_older_sweeps_are_earlier_keyframes(drive: ToyTownDrive) -> None:
    assert [len(drive[i].sweeps) for i in (0, 1, 2, 9)] == [1, 2, 3, 3]
    np.testing.assert_array_equal(drive[9].sweeps[2].points, drive[7].keyframe.points)
    assert drive[9].sweeps[2].stamp_ns == drive[7].stamp_ns


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_clouds_are_as_large_as_an_hdl32s(seed: int) -> None:
    points = ToyTownDrive(seed, cameras=False)[50].keyframe.points
    assert points.dtype == np.float32
    assert 24_000 < len(points) < 34_688
    assert np.isfinite(points).all()
    assert np.linalg.norm(points[:, :3], axis=1).max() < 80.5


@pytest.mark.parametrize("seed", range(4))
def test_all_ten_classes_live_in_every_drive(seed: int) -> None:
    drive = ToyTownDrive(seed, cameras=False)
    hit = np.zeros(10, int)
    for index in range(0, 200, 25):
        annotations = drive[index].annotations
        assert annotations is not None
        hit += np.bincount(annotations.boxes.labels[annotations.num_lidar_pts >= 3], minlength=10)
    assert (hit > 0).all(), dict(zip(NUSCENES_CLASSES, hit, strict=True))
    assert hit[0] >= 24, "cars everywhere"


def test_velocities_are_the_derivatives_of_positions(drive: ToyTownDrive) -> None:
    for index in (20, 90, 170):
        before, now, after = (world_boxes(drive, i) for i in (index - 1, index, index + 1))
        compared = 0
        for name, (_, _, _, yaw, vx, vy) in now.items():
            if name not in before or name not in after:
                continue
            numeric = (np.array(after[name][:2]) - before[name][:2]) / 0.2
            np.testing.assert_allclose([vx, vy], numeric, atol=0.25, err_msg=name)  # a change of speed within 0.2 s
            speed = np.hypot(vx, vy)
            compared += speed > 1
            if speed > 1:
                # A body that cuts corners moves a little sideways; no actor drives backwards.
                assert abs(wrap_angle(np.arctan2(vy, vx) - np.array(yaw))) < 0.35, name
        assert compared > 5


def world_boxes(drive: ToyTownDrive, index: int) -> dict[str, tuple[float, ...]]:
    sample = drive[index]
    assert sample.annotations is not None
    assert sample.keyframe.world_SE3_ego is not None
    boxes = sample.annotations.boxes.transformed(sample.keyframe.world_SE3_ego @ HDL32E.ego_SE3_lidar)
    columns = boxes.values[:, [0, 1, 2, 6, 7, 8]].astype(float).tolist()
    return dict(zip(sample.annotations.instance_ids, (tuple(c) for c in columns), strict=True))


@pytest.mark.parametrize("seed", [1, 5, 9])
def test_actors_never_drive_through_one_another(seed: int) -> None:
    drive = ToyTownDrive(seed, cameras=False)
    for time_s in np.arange(0.0, 20.0, 0.5):
        values = np.array([np.r_[a.poses(np.array([time_s]))[0, :3], a.shape.size, 0] for a in drive.town.actors])
        values[:, 6] = [a.poses(np.array([time_s]))[0, 3] for a in drive.town.actors]
        ego = drive.town.world_SE3_ego(time_s)
        body = ego.transform(np.array([[1.4, 0.0, 0.0]]))[0]
        values = np.vstack([values, [*body, 4.6, 1.9, 1.5, ego.yaw_rad]])
        shapes = [Polygon(c) for c in bev_corners(values)]
        for a, b in STRtree(shapes).query(shapes, predicate="intersects").T:
            assert a >= b or shapes[a].intersection(shapes[b]).area < 1e-3, (time_s, a, b)


def test_the_ego_keeps_to_its_lanes(drive: ToyTownDrive) -> None:
    lane_map = drive[0].lane_map
    assert lane_map is not None
    assert len(lane_map.lane_ids) == len(set(lane_map.lane_ids)) == len(lane_map.centerlines)
    lines = MultiLineString([LineString(line[:, :2]) for line in lane_map.centerlines])
    headings = []
    for index in range(0, 200, 5):
        pose = drive.town.world_SE3_ego(drive.time_s(index))
        x, y = pose.translation[:2]
        assert lines.distance(LineString([(x, y), (x, y + 1e-6)])) < 0.4
        headings.append(pose.yaw_rad)
        nearest = min(lane_map.centerlines, key=lambda line: np.linalg.norm(line[:, :2] - (x, y), axis=1).min())
        place = min(int(np.linalg.norm(nearest[:, :2] - (x, y), axis=1).argmin()), len(nearest) - 2)
        along = nearest[place + 1] - nearest[place]
        assert abs(wrap_angle(np.arctan2(along[1], along[0]) - np.array(pose.yaw_rad))) < 0.6, "with the traffic"
    assert np.ptp(np.unwrap(headings)) > 0.7, "it turns at least once"


def test_boxes_may_be_empty_and_their_visibility_shows_why(drive: ToyTownDrive) -> None:
    annotations = drive[30].annotations
    assert annotations is not None
    seen = annotations.num_lidar_pts > 0
    assert seen.any()
    assert not seen.all()
    share = annotations.visibility[seen]
    assert ((share > 0) & (share <= 1)).all()
    assert np.linalg.norm(annotations.boxes.centers[:, :2], axis=1).max() < 62


def test_a_skewed_drive_is_the_compensated_one_once_it_is_deskewed(drive: ToyTownDrive) -> None:
    skewed = ToyTownDrive(SEED, cameras=False, clouds=Clouds(skewed=True))
    measured, ideal = skewed[40].keyframe, drive[40].keyframe
    assert measured.columns == (*ideal.columns, "time")
    times = measured.points[:, -1]
    assert -0.1 < times.min() < -0.09
    assert -0.01 < times.max() <= 0.0
    assert (np.diff(times) >= 0).all()

    def world_SE3_lidar(stamp_ns: int) -> SE3:
        return drive.town.world_SE3_ego(1e-9 * (stamp_ns - drive.stamp_ns(0))) @ HDL32E.ego_SE3_lidar

    found = deskewed(measured, motion_during(world_SE3_lidar, measured.stamp_ns, -0.1, 0.0)).points
    assert np.linalg.norm(measured.points[:, :3] - ideal.points[:, :3], axis=1).mean() > 0.1
    assert np.linalg.norm(found[:, :3] - ideal.points[:, :3], axis=1).max() < 0.01
    np.testing.assert_array_equal(found[:, 3:], ideal.points[:, 3:])


def test_point_labels_change_nothing_but_the_column(drive: ToyTownDrive) -> None:
    labelled = ToyTownDrive(SEED, num_sweeps=2, cameras=False, clouds=Clouds(point_labels=True))[40]
    assert drive[40].point_classes == ()
    assert labelled.point_classes == POINT_CLASSES
    for sweep, plain in zip(labelled.sweeps, drive[40].sweeps, strict=False):
        assert sweep.columns == (*plain.columns, "label")
        assert sweep.points.dtype == np.float32
        np.testing.assert_array_equal(sweep.points[:, :-1], plain.points)


@pytest.mark.parametrize("seed", [1, 4])
def test_labels_agree_with_boxes_and_with_the_map(seed: int) -> None:
    drive = ToyTownDrive(seed, cameras=False, clouds=Clouds(point_labels=True))
    sample = drive[60]
    keyframe, annotations = sample.keyframe, sample.annotations
    assert annotations is not None
    assert sample.lane_map is not None
    labels = keyframe.points[:, -1].astype(int)
    names = np.array(POINT_CLASSES)[labels]
    assert set(POINT_CLASSES[11:]) <= set(names.tolist())
    assert labels.min() > 0
    parked = annotations.boxes[np.linalg.norm(annotations.boxes.velocities, axis=1) < 0.1]
    inside = points_in_boxes(keyframe.points, parked.values)
    above = inside & (keyframe.points[:, 2] > (parked.values[:, 2] - parked.values[:, 5] / 2 + 0.3)[:, None])
    is_right = np.array(parked.names)[:, None] == names
    assert above.sum() > 100
    assert is_right[above].mean() > 0.97
    world_SE3_lidar = keyframe.world_SE3_ego @ keyframe.ego_SE3_lidar
    world = world_SE3_lidar.transform(keyframe.points[:, :3].astype(np.float64))
    area = unary_union([Polygon(outline) for outline in sample.lane_map.drivable_area])
    assert contains_xy(area.buffer(0.1), *world[names == "driveable_surface", :2].T).mean() > 0.98
    height = world[:, 2] - drive.town.ground.base_height(world[:, :2])
    for name, expected in (("driveable_surface", 0.0), ("terrain", 0.0), ("sidewalk", KERB_M)):
        assert np.median(height[names == name]) == pytest.approx(expected, abs=0.03), name
    assert height[names == "vegetation"].max() > 2
    assert height[names == "manmade"].max() > 2


def test_things_stand_on_the_ground(drive: ToyTownDrive) -> None:
    town = drive.town
    for actor in town.actors:
        x, y, z, _ = actor.poses(np.array([5.0]))[0]
        bottom = z - actor.shape.size[2] / 2
        assert abs(bottom - town.ground.base_height(np.array([[x, y]]))[0]) < 0.25, actor.instance_id


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 0, "duration_s": 0}, {"seed": 0, "num_sweeps": 0}])
def test_wrong_arguments_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        ToyTownDrive(**wrong)  # type: ignore[arg-type]


def test_names_labels_and_poses_need_no_scan() -> None:
    drive = ToyTownDrive(11, duration_s=0.3, num_sweeps=2, cameras=False)
    assert_names_labels_and_poses_need_no_cloud(drive, "lidarloop_training.toytown.drive.ToyTownDrive.scan")
    assert (drive.annotations(2).num_lidar_pts == -1).all()
    assert (drive[2].annotations.num_lidar_pts >= 0).all()


def test_a_drive_of_another_lidar_has_its_name_and_the_same_town() -> None:
    own, other = (ToyTownDrive(3, duration_s=0.1, cameras=False, lidar=name) for name in ("hdl32e", "hdl64e"))
    assert (own.scene, other.scene) == ("toytown-0003", "toytown-0003-hdl64e")
    a, b = own[0], other[0]
    assert a.annotations.instance_ids == b.annotations.instance_ids
    np.testing.assert_allclose(
        a.annotations.boxes.values[:, 2] + a.keyframe.ego_SE3_lidar.translation[2],
        b.annotations.boxes.values[:, 2] + b.keyframe.ego_SE3_lidar.translation[2],
        atol=0.05,
    )
    assert len(b.keyframe.points) > 2 * len(a.keyframe.points)
    assert b.keyframe.ego_SE3_lidar.translation[2] == 1.73
    with pytest.raises(ConfigError, match=r"'vlp16'; expected one of hdl32e, hdl64e"):
        ToyTownDrive(3, lidar="vlp16")
