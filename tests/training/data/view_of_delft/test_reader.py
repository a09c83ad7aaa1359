from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_training.data.view_of_delft.reader import ViewOfDelftSource
from tests.training.data.view_of_delft.fixture import PITCH_RAD, write_view_of_delft
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_view_of_delft(tmp_path)
    return tmp_path


def test_boxes_stand_upright_in_the_lidars_frame(root: Path) -> None:
    boxes = ViewOfDelftSource(root)[0].annotations.boxes
    assert boxes.names == ["car", "bicycle", "motorcycle"]  # no riders, no racks
    # 10 m ahead and 2 m below the LiDAR, in its own frame; half the height is added along its own z.
    np.testing.assert_allclose(boxes.values[0, :7], [10, 1, -2 + 0.75, 4.0, 1.8, 1.5, 0.4], atol=1e-5)
    assert np.isnan(boxes.values[:, 7:]).all()


def test_intensities_stay_as_they_are_and_points_are_counted(root: Path) -> None:
    sample = ViewOfDelftSource(root)[0]
    np.testing.assert_allclose(sample.keyframe.points[:, 3], [200.0, 7.0])
    assert sample.annotations.num_lidar_pts.tolist() == [1, 0, 0]


def test_poses_lead_from_the_camera_to_the_map(root: Path) -> None:
    sample = ViewOfDelftSource(root)[0]
    (image,) = sample.cameras
    map_SE3_camera = image.world_SE3_ego @ image.ego_SE3_camera
    np.testing.assert_allclose(map_SE3_camera.translation, [100.0, 200.0, 1.5], atol=1e-9)
    np.testing.assert_allclose(map_SE3_camera.rotation, SE3.from_yaw(0.5).rotation, atol=1e-9)
    assert PITCH_RAD > 0
    assert ViewOfDelftSource(root)[2].keyframe.world_SE3_ego is None, "it has no pose file"


def test_a_gap_in_the_numbers_begins_another_drive(root: Path) -> None:
    keys = ViewOfDelftSource(root).keys
    assert [key.token for key in keys] == ["01047", "01048", "01201"]
    assert [key.drive for key in keys] == ["view-of-delft-01047", "view-of-delft-01047", "view-of-delft-01201"]
    assert keys[1].stamp_ns - keys[0].stamp_ns == 100_000_000


def test_damaged_files_are_named(root: Path) -> None:
    folder = root / "lidar" / "training"
    (folder / "label_2" / "01047.txt").write_text("Spaceship 0 0\n")
    with pytest.raises(DatasetError, match=r"01047\.txt, line 1.*Spaceship"):
        ViewOfDelftSource(root).annotations(0)
    (folder / "pose" / "01047.json").write_text(json.dumps({"mapToCamera": [1.0] * 15}))
    with pytest.raises(DatasetError, match=r"pose/01047\.json.*mapToCamera"):
        ViewOfDelftSource(root).pose(0)
    with pytest.raises(DatasetError, match="lidar/training"):
        ViewOfDelftSource(folder / "pose")


def test_names_labels_and_poses_need_no_cloud(root: Path) -> None:
    assert_names_labels_and_poses_need_no_cloud(
        ViewOfDelftSource(root), "lidarloop_training.data.view_of_delft.reader.read_format"
    )


def test_images_are_optional(root: Path) -> None:
    assert ViewOfDelftSource(root, cameras=False)[0].cameras == ()
    assert ViewOfDelftSource(root)[1].cameras == ()
    Image.new("RGB", (40, 30)).save(root / "lidar" / "training" / "image_2" / "01048.jpg")
    assert ViewOfDelftSource(root)[1].cameras[0].width == 40


@pytest.mark.real
def test_real_boxes_hold_points(streets: Path) -> None:
    source = ViewOfDelftSource(streets / "view_of_delft")
    counts = np.concatenate([source[i].annotations.num_lidar_pts for i in range(len(source))])
    assert len(counts) == 34
    assert (counts > 0).mean() > 0.9
