from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.camera import project
from lidarloop_core.sample import camera_SE3_lidar
from lidarloop_training.data.drive_spec import PandaSet
from lidarloop_training.data.nuscenes.lidarseg_classes import LABEL_NAMES
from lidarloop_training.data.pandaset.classes import PANDASET_TO_NUSCENES, POINT_CLASS_TO_LABEL_NAME
from lidarloop_training.data.pandaset.reader import EGO_SE3_LIDAR, PandaSetSource
from tests.training.data.pandaset import fixture
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud

LAYOUTS = {"compact": fixture.write_compact, "published": fixture.write_published}


@pytest.fixture(params=list(LAYOUTS))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write: Callable[[Path], None] = LAYOUTS[request.param]
    write(tmp_path / "002")
    return tmp_path / "002"


def test_clouds_are_the_pandar64s_in_its_own_frame(folder: Path) -> None:
    sample = PandaSetSource(folder)[1]
    want = fixture.VEHICLE_POINTS[:3].copy()
    want[:, :3] -= EGO_SE3_LIDAR.translation
    assert sample.keyframe.columns == ("x", "y", "z", "intensity", "label")
    np.testing.assert_allclose(sample.keyframe.points[:, :4], want, atol=1e-5)
    names = [sample.point_classes[int(label)] for label in sample.keyframe.points[:, 4]]
    assert names == ["car", "pedestrian", "driveable_surface"]
    np.testing.assert_allclose(sample.keyframe.world_SE3_ego.matrix, fixture.vehicle_pose(2), atol=1e-9)


def test_siblings_and_what_the_other_lidar_saw_alone_are_not_counted(folder: Path) -> None:
    annotations = PandaSetSource(folder)[1].annotations
    assert annotations.boxes.names == ["car", "truck"]  # nuScenes has no birds
    assert annotations.instance_ids == ("002-parked", "002-moving-0")
    assert annotations.num_lidar_pts.tolist() == [1, 0], "the truck's point is the PandarGT's"
    assert PandaSetSource(folder)[0].annotations.num_lidar_pts.tolist() == [1, 0]


def test_boxes_and_velocities_are_in_the_lidars_frame(folder: Path) -> None:
    values = PandaSetSource(folder)[1].annotations.boxes.values
    np.testing.assert_allclose(values[0], [8.2, 2.0, -1.35, 4.0, 2.0, 1.5, 0.1, 0.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(values[1], [29.2, 1.0, -0.85, 5.5, 2.0, 1.9, -0.2, 5.0, 0.0], atol=1e-4)


def test_images_are_posed_at_their_exposure(folder: Path) -> None:
    sample = PandaSetSource(folder)[1]
    (image,) = sample.cameras
    assert (image.name, image.width, image.height) == ("CAM_FRONT", 40, 30)
    assert image.stamp_ns - sample.stamp_ns == pytest.approx(50e6, abs=2000)
    want = [[0.0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.ego_SE3_camera.matrix, want, atol=1e-5)
    # 20 m ahead of the camera at the sweep's stamp, and 0.25 m less at the exposure.
    ahead = np.array([[21.5, 0.0, 1.0]]) - EGO_SE3_LIDAR.translation
    pixels, depth = project(camera_SE3_lidar(image, sample.keyframe).transform(ahead), image.intrinsics)
    np.testing.assert_allclose(depth, 19.75, atol=1e-4)
    np.testing.assert_allclose(pixels, [[19.5, 14.5]], atol=1e-3)


def test_exposures_after_the_last_sweep_go_on_with_its_motion(folder: Path) -> None:
    image = PandaSetSource(folder)[2].cameras[0]
    np.testing.assert_allclose(image.ego_SE3_camera.translation, [1.5, 0, 1], atol=1e-5)


def test_a_folder_of_sequences_is_drives(tmp_path: Path) -> None:
    fixture.write_compact(tmp_path / "pandaset_002")
    fixture.write_published(tmp_path / "004")
    source = PandaSetSource(tmp_path, num_sweeps=2)
    assert [key.token for key in source.keys] == ["004-00", "004-02", "004-04", "002-00", "002-02", "002-04"]
    assert {key.drive for key in source.keys} == {"pandaset-002", "pandaset-004"}
    assert [len(source[i].sweeps) for i in range(6)] == [1, 2, 2, 1, 2, 2]
    assert len(PandaSet(tmp_path, sequence="002").open()) == 3
    assert PandaSet(tmp_path).one_of(("pandaset-002",)) == "--sequence 002"
    assert len(pickle.loads(pickle.dumps(source))) == 6
    with pytest.raises(DatasetError, match=r"sequence 009; expected one of 004, 002"):
        PandaSetSource(tmp_path, sequences=["009"])


def test_sequences_without_labels_are_read(folder: Path) -> None:
    for path in (*folder.glob("boxes/*"), *folder.glob("semseg_classes.json"), *folder.glob("annotations/*/*")):
        path.unlink()
    for path in (folder / "boxes", folder / "annotations" / "cuboids"):
        if path.is_dir():
            path.rmdir()
    sample = PandaSetSource(folder)[0]
    assert sample.annotations is None
    assert sample.keyframe.columns == ("x", "y", "z", "intensity")
    assert sample.point_classes == ()


def test_names_labels_and_poses_need_no_cloud(folder: Path) -> None:
    assert_names_labels_and_poses_need_no_cloud(
        PandaSetSource(folder),
        "lidarloop_training.data.pandaset.compact.CompactRecording.cloud",
        "lidarloop_training.data.pandaset.published.PublishedRecording.cloud",
    )


def test_classes_are_those_of_nuscenes() -> None:
    assert set(POINT_CLASS_TO_LABEL_NAME.values()) < set(LABEL_NAMES)
    assert "car" in PANDASET_TO_NUSCENES.values()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    fixture.write_compact(tmp_path / "a")
    (tmp_path / "a" / "lidar" / "00.npz").write_bytes(b"PK")
    with pytest.raises(DatasetError, match=r"lidar/00\.npz.*restore"):
        PandaSetSource(tmp_path / "a")[0]
    fixture.write_compact(tmp_path / "b")
    (tmp_path / "b" / "boxes" / "02.json").write_text(json.dumps([{"label": "Car"}]))
    with pytest.raises(DatasetError, match=r"boxes/02\.json.*restore"):
        PandaSetSource(tmp_path / "b").annotations(0)
    fixture.write_published(tmp_path / "c")
    (tmp_path / "c" / "lidar" / "timestamps.json").write_text("[1.0]")
    with pytest.raises(DatasetError, match=r"timestamps\.json"):
        PandaSetSource(tmp_path / "c")
    fixture.write_published(tmp_path / "d")
    fixture.write_frame(tmp_path / "d" / "lidar" / "00.pkl.gz", {"x": np.zeros(1)})
    with pytest.raises(DatasetError, match=r"00\.pkl\.gz: has no column y, z, i, d"):
        PandaSetSource(tmp_path / "d")[0]
    with pytest.raises(DatasetError, match=r"holds no lidar/00\.pkl\.gz; expected a PandaSet sequence"):
        PandaSetSource(tmp_path / "d" / "camera")


@pytest.mark.real
def test_real_moving_objects_are_labelled_once(streets: Path) -> None:
    source = PandaSetSource(streets / "pandaset_002")
    records = json.loads((streets / "pandaset_002" / "boxes" / "20.json").read_text())
    # One names itself.
    siblings = {r["track"]: r["sibling"] for r in records if r["sibling"] not in ("-", r["track"])}
    index = next(i for i, key in enumerate(source.keys) if key.token == "002-20")
    tracks = {name.removeprefix("002-") for name in source.annotations(index).instance_ids}
    assert siblings
    assert not any(siblings.get(track) in tracks for track in tracks)
