"""Depth from single pictures: what the road tells, and models loaded as from the hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.errors import ConfigError, ModelFileError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import CameraImage
from lidarloop_training.pseudolabel.mask_models.ground_scale import metres

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lidarloop_training.pseudolabel.mask_models.depth import open_transformers_depth
from tests.training.pseudolabel.mask_models import tiny_models

WIDTH, HEIGHT = 120, 80
HEIGHT_M = 1.6


def camera(pitch_deg: float = 0.0) -> CameraImage:
    """A camera that looks ahead and ``pitch_deg`` down."""
    pitch = np.radians(pitch_deg)
    ahead = np.array([np.cos(pitch), 0, -np.sin(pitch)])
    right = np.array([0.0, -1, 0])
    rotation = np.stack([right, np.cross(ahead, right), ahead], axis=1)
    intrinsics = np.array([[100.0, 0, 60], [0, 100, 30], [0, 0, 1]])
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return CameraImage(
        "C", lambda: pixels, intrinsics, WIDTH, HEIGHT, 0, SE3(rotation, np.array([1.5, 0, HEIGHT_M])), None
    )


def street(image: CameraImage) -> npt.NDArray[np.float64]:
    """True depth: a road, a wall 30 m ahead, and a box on the road at the left."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(image.intrinsics).T
    fall = -(rays @ image.ego_SE3_camera.rotation.T)[..., 2]
    with np.errstate(divide="ignore"):
        depth = np.minimum(np.where(fall > 0, HEIGHT_M / fall, np.inf), 30.0)
    depth[35:60, 5:45] = 8.0
    return depth


@pytest.mark.parametrize("pitch_deg", [0.0, 8.0])
def test_the_road_tells_factor_and_offset(pitch_deg: float) -> None:
    image = camera(pitch_deg)
    true = street(image)
    relative = (7 / true + 0.4).astype(np.float32)
    found = metres(relative, image, offset=True)
    assert found is not None
    np.testing.assert_allclose(found, true, rtol=2e-3)


def test_the_road_tells_the_factor_of_noisy_metric_depth() -> None:
    image = camera()
    true = street(image)
    noisy = true * 1.7 * np.random.default_rng(1).lognormal(0, 0.03, true.shape)
    found = metres((1 / noisy).astype(np.float32), image, offset=False)
    assert found is not None
    assert np.median(found / true) == pytest.approx(1.0, abs=0.01)


def test_beyond_all_depth_is_infinite() -> None:
    image = camera()
    relative = (1 / street(image)).astype(np.float32)
    relative[:10] = 0
    found = metres(relative, image, offset=True)
    assert found is not None
    assert np.isinf(found[:10]).all() or (found[:10] > 1000).all()


def test_without_a_road_there_is_no_scale() -> None:
    image = camera()
    assert metres(np.full((HEIGHT, WIDTH), np.nan, np.float32), image, offset=True) is None
    assert metres(np.ones((HEIGHT, WIDTH), np.float32), image, offset=True) is None
    noise = np.random.default_rng(2).uniform(0.1, 9, (HEIGHT, WIDTH)).astype(np.float32)
    assert metres(noise, image, offset=True) is None
    upside_down = (-1 / street(image)).astype(np.float32)
    assert metres(upside_down, image, offset=True) is None


def test_a_metric_model_is_taken_at_its_word(tmp_path: Path) -> None:
    model = open_transformers_depth(str(tiny_models.depth_anything(tmp_path / "metric", "metric")), device="cpu")
    (depth,) = model.depth("s", [camera()])
    assert (depth.shape, depth.dtype) == ((HEIGHT, WIDTH), np.float32)
    assert ((depth > 0) & (depth < 80)).all()  # the configuration's max_depth
    np.testing.assert_array_equal(model.depth("t", [camera(), camera()])[1], depth)
    assert model.name.startswith("metric@")


def test_a_relative_model_needs_the_road(tmp_path: Path) -> None:
    model = open_transformers_depth(str(tiny_models.depth_anything(tmp_path / "relative", "relative")), device="cpu")
    (depth,) = model.depth("s", [camera()])
    assert depth.shape == (HEIGHT, WIDTH)
    assert np.isnan(depth).all()  # random weights see no road
    assert "scaled by the road" in model.name


def test_zoedepth(tmp_path: Path) -> None:
    model = open_transformers_depth(str(tiny_models.zoedepth(tmp_path / "zoe")), device="cpu")
    (depth,) = model.depth("s", [camera()])
    assert depth.shape == (HEIGHT, WIDTH)
    assert ((depth > 0) & (depth <= 80)).all()


def test_what_is_no_depth_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="expected a folder with"):
        open_transformers_depth(str(tiny_models.sam(tmp_path / "sam")))
    with pytest.raises(ModelFileError, match="expected a folder with"):
        open_transformers_depth(str(tmp_path / "nothing"))
    folder = tiny_models.glpn(tmp_path / "glpn")
    with pytest.raises(ConfigError, match="is a glpn; expected one of zoedepth"):
        open_transformers_depth(str(folder))
