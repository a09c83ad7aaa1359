"""``lidarloop view`` without a screen: pictures and recordings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.results import write_results
from lidarloop_core.sample import Sample, Sweep
from lidarloop_training.commands.view import ViewRequest, view
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.drive_spec import Bag
from lidarloop_training.viewer.frames import Results, shown_frames
from lidarloop_training.viewer.rerun_log import point_colors
from lidarloop_training.viewer.unit_colors import NO_UNIT, unit_colors
from tests.training.sources import MadeSource

if TYPE_CHECKING:
    from tests.training.conftest import BoxScenes


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of the toy town with pictures, as a bag."""
    pytest.importorskip("embreex", reason="the toy town's ray caster is not installed")
    from lidarloop_training.toytown.drive import ToyTownDrive

    drive = ToyTownDrive(7, duration_s=0.3)
    return write_bag(drive, tmp_path_factory.mktemp("town") / "drive.mcap")


def logged(path: Path, boxes: str) -> tuple[set[str], list[Any]]:
    """The entities of a recording, and the centres of those boxes: one list a frame, read by the installed Rerun."""
    import rerun

    if hasattr(rerun, "dataframe"):  # 0.23, the last for NumPy 1
        recording = rerun.dataframe.load_recording(path)
        table = recording.view(index="frame", contents=boxes).select().read_all()
        entities = {column.entity_path for column in recording.schema().component_columns()}
        return entities, table[f"{boxes}:PoseTranslation3D"].to_pylist()
    from rerun.chunk import RrdReader

    chunks = list(RrdReader(path).stream())
    batches = [chunk.to_record_batch() for chunk in chunks if chunk.entity_path == boxes]
    return {chunk.entity_path for chunk in chunks}, [c for b in batches for c in b["Boxes3D:centers"].to_pylist()]


def test_pictures_and_recording(town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rerun")
    view(ViewRequest(Bag(town), png=tmp_path / "png", save=tmp_path / "drive.rrd"))
    assert capsys.readouterr().out.split() == [str(tmp_path / "drive.rrd"), str(tmp_path / "png")]
    sheets = sorted((tmp_path / "png").iterdir())
    assert [path.name for path in sheets] == ["000000.png", "000001.png", "000002.png"]
    pixels = np.asarray(Image.open(sheets[0]))
    assert pixels.shape[1] > 3 * 400  # the cloud from above and three cameras in a row
    assert pixels.std() > 20

    entities, centers = logged(tmp_path / "drive.rrd", "/world/lidar/ground_truth")
    assert len(centers) == 3
    assert len(centers[0]) > 5
    assert {
        "/world/lidar/points",
        "/world/ego_path",
        "/world/lanes",
        "/world/cameras/CAM_FRONT/ground_truth",
    } <= entities


def test_results_in_the_world_frame_come_to_the_lidar(box_scenes: Callable[..., BoxScenes], tmp_path: Path) -> None:
    """Boxes given where the objects are in the world are shown on their points."""
    source = box_scenes()
    world_SE3_lidar = SE3.from_yaw(0.7, (900.0, -400.0, 12.0))
    sample = source[0]
    moved = sample.annotations.boxes.transformed(world_SE3_lidar)
    write_results(tmp_path / "results.json", {sample.token: moved}, {"frame": "world"})
    results = Results.read(tmp_path / "results.json", 0.0)

    class Moved(MadeSource):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            sweep = sample.keyframe
            keyframe = Sweep(sweep.points, sweep.columns, sweep.stamp_ns, sweep.ego_SE3_lidar, world_SE3_lidar)
            return type(sample)(sample.token, sample.scene, sample.stamp_ns, (keyframe,), (), sample.annotations)

    (frame,) = shown_frames(Moved(), [0], results)
    np.testing.assert_allclose(frame.detections.values, sample.annotations.boxes.values, atol=2e-4)
    with pytest.raises(DatasetError, match="none of the 1 frames of the results"):
        list(shown_frames(source, [1], results))


def test_weak_detections_are_left_out(tmp_path: Path) -> None:
    boxes = Boxes3D(np.ones((2, 9)), np.array([0.2, 0.6]), np.zeros(2), NUSCENES_CLASSES)
    write_results(tmp_path / "results.json", {"a": boxes}, {"frame": "lidar"})
    assert len(Results.read(tmp_path / "results.json", 0.3).boxes["a"]) == 1


def test_points_are_coloured() -> None:
    points = np.array([[0, 0, -3, 0, 4], [0, 0, 3, 255, 5], [0, 0, 0, 50, 4]], np.float32)
    sweep = Sweep(points, ("x", "y", "z", "intensity", "label"), 0, SE3.identity(), None)
    for color in ("intensity", "height"):
        rgb = point_colors(sweep, color).astype(int)
        assert rgb.shape == (3, 3)
        assert rgb[0].sum() < rgb[2].sum() < rgb[1].sum()
    rgb = point_colors(sweep, "label")
    assert (rgb[0] == rgb[2]).all()
    assert (rgb[0] != rgb[1]).any()
    with pytest.raises(ConfigError, match=r"--color label.*x, y, z, intensity"):
        point_colors(Sweep(points[:, :4], sweep.columns[:4], 0, SE3.identity(), None), "label")


def test_without_rerun_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, town: Path) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigError, match=r"lidarloop\[view\].*--png"):
        view(ViewRequest(Bag(town)))


def test_without_a_screen_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, town: Path) -> None:
    pytest.importorskip("rerun")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ConfigError, match=r"needs a screen.*--save.*--png"):
        view(ViewRequest(Bag(town)))


def test_wrong_numbers(town: Path) -> None:
    with pytest.raises(ConfigError, match="--every 0"):
        ViewRequest(Bag(town), every=0)
    with pytest.raises(ConfigError, match="--range-m 0"):
        ViewRequest(Bag(town), range_m=0.0)
    with pytest.raises(ConfigError, match="which is a file; expected a folder"):
        ViewRequest(Bag(town), png=town)


def test_units_are_shown_in_the_cloud_and_in_the_pictures(town: Path, tmp_path: Path) -> None:
    drive = Bag(town).open()
    colors = unit_colors(drive[0])
    assert colors.rgb.shape == (len(drive[0].keyframe.points), 3)
    assert (colors.rgb[~colors.has_unit] == NO_UNIT).all()
    assert 0.05 < colors.has_unit.mean() < 0.7  # the others are ground, mostly
    assert len(np.unique(colors.rgb[colors.has_unit], axis=0)) > 50

    view(ViewRequest(Bag(town), png=tmp_path / "units", color="unit", frames=1))
    view(ViewRequest(Bag(town), png=tmp_path / "plain", frames=1))
    units, plain = (np.asarray(Image.open(tmp_path / name / "000000.png")) for name in ("units", "plain"))
    differs = (units != plain).any(axis=2).mean(axis=0)
    above, cameras = differs[:800], differs[-800:]
    assert above.max() > 0.02
    assert cameras.max() > 0.02


def test_recordings_take_units_colours(town: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    view(ViewRequest(Bag(town), save=tmp_path / "drive.rrd", color="unit", frames=1))
    assert (tmp_path / "drive.rrd").stat().st_size > 1000
