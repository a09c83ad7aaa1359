from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.models.detector import NetworkConfig

torch = pytest.importorskip("torch")

from lidarloop_core.pointcloud.grouping import group_pillars  # noqa: E402
from lidarloop_core.pointcloud.sweeps import merge_sweeps  # noqa: E402
from lidarloop_training.models.backbones.bev import BevBackbone  # noqa: E402
from lidarloop_training.models.detector import center_point  # noqa: E402
from tests.builders import make_spec  # noqa: E402

if TYPE_CHECKING:
    from tests.training.conftest import BoxScenes


@pytest.mark.parametrize("size", [(16, 20), (32, 64)])
def test_backbone_halves_the_canvas(size: tuple[int, int]) -> None:
    backbone = BevBackbone(4, (8, 16), (1, 2), 12).eval()
    assert backbone(torch.randn(2, 4, *size)).shape == (2, 12, size[0] // 2, size[1] // 2)


def test_backbone_keeps_places(spec: ModelSpec) -> None:
    """What is at one end of the canvas is seen there, not at the other."""
    torch.manual_seed(0)
    backbone = BevBackbone(2, (8, 8), (1, 1), 8).eval()
    empty = torch.zeros(1, 2, 32, 32)
    marked = empty.clone()
    marked[..., 28, 3] = 10.0
    with torch.no_grad():
        change = (backbone(marked) - backbone(empty)).abs().sum(dim=(0, 1))
    assert change[8:, :10].sum() > 0.99 * change.sum() > 0


def test_raw_maps_of_a_cloud(
    spec: ModelSpec, network_config: NetworkConfig, box_scenes: Callable[..., BoxScenes]
) -> None:
    torch.manual_seed(0)
    detector = center_point(spec, network_config).eval()
    index = group_pillars(merge_sweeps(box_scenes()[0].sweeps, spec.point_columns), spec.pillars)
    with torch.no_grad():
        output = detector(*(torch.from_numpy(a) for a in (index.points, index.slot, index.cell, index.count)))
    assert output.heatmap.shape == (1, 10, 8, 10)
    assert output.regression.shape == (1, 10, 6, 8, 10)
    assert np.isfinite(output.heatmap.numpy()).all()


def test_a_range_that_the_backbone_cannot_halve_is_refused(spec: ModelSpec, network_config: NetworkConfig) -> None:
    odd = make_spec(spec, x_range_m=(-9.0, 10.0))
    with pytest.raises(ValueError, match="multiple of 4"):
        center_point(odd, network_config)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_gpu_gives_the_cpu_s_maps(
    spec: ModelSpec, network_config: NetworkConfig, box_scenes: Callable[..., BoxScenes]
) -> None:
    torch.manual_seed(0)
    detector = center_point(spec, network_config).eval()
    index = group_pillars(merge_sweeps(box_scenes()[0].sweeps, spec.point_columns), spec.pillars)
    inputs = [torch.from_numpy(a) for a in (index.points, index.slot, index.cell, index.count)]
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        on_cpu = detector(*inputs)
        on_gpu = detector.cuda()(*(tensor.cuda() for tensor in inputs))
    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        torch.testing.assert_close(gpu.cpu(), cpu, atol=1e-4, rtol=1e-4)
