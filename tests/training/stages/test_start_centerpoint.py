"""CenterPoint's public layout: what is loaded computes what a dense reference computes from the public weights."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from lidarloop_core.sparse.cloud import VoxelCloud
from tests.builders import VOXEL_DETECTOR, make_spec

torch = pytest.importorskip("torch")
functional = torch.nn.functional

from lidarloop_training.models.detector import CenterPoint  # noqa: E402
from lidarloop_training.stages.start import start_from  # noqa: E402
from lidarloop_training.stages.start_centerpoint import PARTS, our_name, without_counterpart  # noqa: E402
from lidarloop_training.tasks.detection.task import DetectionConfig  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

WIDTHS = (4, 6, 8, 10)
BEV_WIDTHS = (8, 12)
EPS = 1e-3

# As theirs: 41 layers, kernel 3 and stride 2 thrice, then what is left of the height.
GRID = VoxelGrid(
    (0.0, 12.8),
    (0.0, 12.8),
    (-5.0, 3.2),
    (0.4, 0.4, 0.2),
    9999,
    (
        VoxelLevel(9999),
        VoxelLevel(9999),
        VoxelLevel(9999, padding=(1, 1, 0)),
        VoxelLevel(9999, stride=(1, 1, 1), kernel=(1, 1, 5), padding=(0, 0, 0)),
    ),
)
SPEC = make_spec(VOXEL_DETECTOR, grid=GRID)


@pytest.fixture
def config(detection_config: DetectionConfig) -> DetectionConfig:
    network = dataclasses.replace(
        detection_config.network,
        class_groups=(SPEC.class_names,),
        voxel_channels=WIDTHS,
        voxel_blocks=(2, 2, 2, 2),
        map_channels=16,
        first_stride=1,
        stage_channels=BEV_WIDTHS,
        stage_depths=(2, 2),
    )
    return dataclasses.replace(detection_config, spec=SPEC, network=network)


def build(config: DetectionConfig) -> CenterPoint:
    network = config.task().build()
    assert isinstance(network, CenterPoint)
    return network.eval()


class Public:
    """Random weights under det3d's names; kernels of sparse convolutions are kept as (out, kz, ky, kx, in)."""

    def __init__(self, *, has_bias: bool) -> None:
        self._random = torch.Generator().manual_seed(0)
        self.state: State = {}
        self._conv("backbone.conv_input.0", (WIDTHS[0], 3, 3, 3, 5))
        self._norm("backbone.conv_input.1", WIDTHS[0])
        for level, width in enumerate(WIDTHS):
            first = 0 if level == 0 else 3
            if level:
                self._conv(f"backbone.conv{level + 1}.0", (width, 3, 3, 3, WIDTHS[level - 1]))
                self._norm(f"backbone.conv{level + 1}.1", width)
            for block in (first, first + 1):
                for unit in (1, 2):
                    name = f"backbone.conv{level + 1}.{block}"
                    self._conv(f"{name}.conv{unit}", (width, 3, 3, 3, width), has_bias=has_bias)
                    self._norm(f"{name}.bn{unit}", width)
        self._conv("backbone.extra_conv.0", (WIDTHS[-1], 3, 1, 1, WIDTHS[-1]))
        self._norm("backbone.extra_conv.1", WIDTHS[-1])
        for stage, (inputs, outputs) in enumerate(zip((16, *BEV_WIDTHS), BEV_WIDTHS, strict=False)):
            for j in range(3):
                self._conv(f"neck.blocks.{stage}.{3 * j + 1}", (outputs, outputs if j else inputs, 3, 3))
                self._norm(f"neck.blocks.{stage}.{3 * j + 2}", outputs)
            self._conv(f"neck.deblocks.{stage}.0", (outputs, 8, 1 + stage, 1 + stage))
            self._norm(f"neck.deblocks.{stage}.1", 8)
        self._conv("bbox_head.shared_conv.0", (8, 16, 3, 3), has_bias=True)
        self._norm("bbox_head.shared_conv.1", 8)
        for name, number in (("reg", 2), ("height", 1), ("dim", 3), ("rot", 2), ("vel", 2), ("hm", 10)):
            self._conv(f"bbox_head.tasks.0.{name}.0", (8, 8, 3, 3), has_bias=True)
            self._norm(f"bbox_head.tasks.0.{name}.1", 8)
            self._conv(f"bbox_head.tasks.0.{name}.3", (number, 8, 3, 3), has_bias=True)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._random)

    def _conv(self, name: str, shape: tuple[int, ...], *, has_bias: bool = False) -> None:
        self.state[f"{name}.weight"] = self._normal(*shape) / math.sqrt(math.prod(shape[1:]))
        if has_bias:
            self.state[f"{name}.bias"] = self._normal(shape[0])

    def _norm(self, name: str, width: int) -> None:
        self.state[f"{name}.weight"] = 1 + 0.2 * self._normal(width)
        self.state[f"{name}.bias"] = 0.2 * self._normal(width)
        self.state[f"{name}.running_mean"] = 0.2 * self._normal(width)
        self.state[f"{name}.running_var"] = self._normal(width).square() + 0.5
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def as_det3d(self) -> State:
        """spconv 1: (kz, ky, kx, in, out)."""
        return {
            name: value.permute(1, 2, 3, 4, 0).contiguous() if value.dim() == 5 else value
            for name, value in self.state.items()
        }

    def as_mmdetection3d(self) -> State:
        """spconv 2; the strided convolution of a level is the last of the one before, and nothing pads in a module."""
        found = {}
        for name, value in self.state.items():
            words = name.split(".")
            part, rest = words[1], words[2:]
            if part == "conv_input":
                new = ["pts_middle_encoder", *words[1:]]
            elif part == "extra_conv":
                new = ["pts_middle_encoder", "conv_out", *rest]
            elif words[0] == "backbone":
                level, place = int(part[4:]), int(rest[0])
                is_strided = level > 1 and place < 2
                level, place = (level - 1, 2) if is_strided else (level, place - (3 if level > 1 else 0))
                tail = rest if is_strided else rest[1:]
                new = ["pts_middle_encoder", "encoder_layers", f"encoder_layer{level}", str(place), *tail]
            elif part == "blocks":
                new = ["pts_backbone", "blocks", rest[0], str(int(rest[1]) - 1), *rest[2:]]
            else:
                new = [f"pts_{words[0]}", *words[1:]]
            found[".".join(new)] = value
        return found


class DenseLevel:
    """Features (1, C, Z, Y, X) of a grid and which of its voxels there are: sparse convolutions by dense ones."""

    def __init__(self, features: Tensor, mask: Tensor, state: State) -> None:
        self.features, self.mask, self._state = features, mask, state

    def unit(self, conv: str, norm: str, *, strided: tuple[int, ...] | None = None) -> Tensor:
        """Convolution and norm; submanifold, or strided with a padding along z, y and x."""
        weight = self._state[f"{conv}.weight"].permute(0, 4, 1, 2, 3)
        stride, padding = (1, (1, 1, 1)) if strided is None else (2, strided)
        values = functional.conv3d(self.features, weight, self._state.get(f"{conv}.bias"), stride, padding)
        if strided is not None:
            ones = torch.ones(1, 1, 3, 3, 3)
            self.mask = (functional.conv3d(self.mask, ones, None, stride, padding) > 0).float()
        normed = functional.batch_norm(values, *(self._state[f"{norm}.{v}"] for v in NORM), eps=EPS)
        return normed * self.mask

    def residual(self, name: str) -> None:
        before = self.features
        self.features = self.unit(f"{name}.conv1", f"{name}.bn1").relu()
        self.features = (before + self.unit(f"{name}.conv2", f"{name}.bn2")).relu()


NORM = ("running_mean", "running_var", "weight", "bias")


def dense_features(cloud: VoxelCloud, state: State) -> Tensor:
    """(V, C) features behind conv4 by the public weights, of the voxels of the level before the fold."""
    columns, rows, layers = GRID.shape
    x, y, z = cloud.index.voxels.coordinates().T
    features, mask = torch.zeros(1, 5, layers, rows, columns), torch.zeros(1, 1, layers, rows, columns)
    features[0, :, z, y, x] = torch.from_numpy(cloud.index.features).T
    mask[0, 0, z, y, x] = 1
    level = DenseLevel(features, mask, state)
    level.features = level.unit("backbone.conv_input.0", "backbone.conv_input.1").relu()
    for number in range(4):
        name = f"backbone.conv{number + 1}"
        if number:
            padding = (0, 1, 1) if number == 3 else (1, 1, 1)
            level.features = level.unit(f"{name}.0", f"{name}.1", strided=padding).relu()
        for block in (0, 1) if number == 0 else (3, 4):
            level.residual(f"{name}.{block}")
    x, y, z = cloud.levels[3].voxels.coordinates().T
    assert int(level.mask.sum()) == len(x)
    return level.features[0, :, z, y, x].T


def cloud_of(spec: ModelSpec) -> VoxelCloud:
    random = np.random.default_rng(0)
    low, high = (np.array(ends) for ends in zip(*spec.grid.ranges_m, strict=True))
    points = np.zeros((900, 5), np.float32)
    points[:, :3] = random.uniform(low, high, (900, 3))
    points[:, 3:] = random.uniform(0, (255, 0.5), (900, 2))
    cloud = group_cloud(points, spec)
    assert isinstance(cloud, VoxelCloud)
    return cloud


def last_features(network: CenterPoint, cloud: VoxelCloud) -> Tensor:
    """Features of the last level above the fold."""
    seen = []
    last = list(network.encoder.get_submodule("sparse.stages"))[-1][-1]  # type: ignore[call-overload]
    hook = last.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        network.encoder(*(torch.from_numpy(array) for array in cloud.tensors().values()))
    hook.remove()
    (found,) = seen
    return found


def saved(state: State, folder: Path) -> Path:
    torch.save({"meta": {"epoch": 20}, "state_dict": state}, folder / "public.pth")
    return folder / "public.pth"


@pytest.mark.parametrize("layout", ["det3d", "mmdetection3d"])
def test_loaded_weights_compute_what_a_dense_reference_computes(
    config: DetectionConfig, tmp_path: Path, layout: str
) -> None:
    """det3d with spconv 1 and biases before the norms, mmdetection3d with spconv 2 and none."""
    public = Public(has_bias=layout == "det3d")
    state = public.as_det3d() if layout == "det3d" else public.as_mmdetection3d()
    network = build(config)
    start_from(saved(state, tmp_path), PARTS, network, config)
    cloud = cloud_of(SPEC)
    found, expected = last_features(network, cloud), dense_features(cloud, public.state)
    assert expected.abs().max() > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    canvas = torch.randn(1, 16, 12, 16)
    with torch.no_grad():
        for stage in range(2):
            expected = dense_stage(canvas, public.state, stage)
            canvas = network.backbone.stages[stage](canvas)
            torch.testing.assert_close(canvas, expected, rtol=1e-4, atol=1e-5)


def dense_stage(values: Tensor, state: State, stage: int) -> Tensor:
    for j in range(3):
        padded = functional.pad(values, (1, 1, 1, 1))
        weight, norm = state[f"neck.blocks.{stage}.{3 * j + 1}.weight"], f"neck.blocks.{stage}.{3 * j + 2}"
        values = functional.conv2d(padded, weight, stride=1 + (j == 0 and stage == 1))
        values = functional.batch_norm(values, *(state[f"{norm}.{v}"] for v in NORM), eps=EPS).relu()
    return values


def test_only_the_named_parts_are_loaded(config: DetectionConfig, tmp_path: Path) -> None:
    network = build(config)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    start_from(saved(Public(has_bias=True).as_det3d(), tmp_path), PARTS[:2], network, config)
    for name, value in network.state_dict().items():
        is_loaded = name.startswith(PARTS[:2])
        assert torch.equal(value, before[name]) != is_loaded, name


def test_every_weight_has_one_counterpart_or_is_named(config: DetectionConfig) -> None:
    state, network = Public(has_bias=False).state, build(config)
    counterparts = [ours for name in state if (ours := our_name(name)) is not None]
    assert len(set(counterparts)) == len(counterparts)
    assert set(counterparts) == {name for name in network.state_dict() if name.startswith(PARTS)}
    assert without_counterpart(state) == (
        "backbone.extra_conv", "neck.deblocks", "bbox_head.shared_conv", "bbox_head.tasks",
    )  # fmt: skip


@pytest.mark.parametrize("parts", [(), ("encoder", "backbone"), ("head",)])
def test_what_has_no_counterpart_is_named_in_one_error(
    config: DetectionConfig, tmp_path: Path, parts: tuple[str, ...]
) -> None:
    path = saved(Public(has_bias=True).as_mmdetection3d(), tmp_path)
    with pytest.raises(ConfigError) as error:
        start_from(path, parts or config_default(), build(config), config)
    for name in ("pts_middle_encoder.conv_out", "pts_neck.deblocks", "pts_bbox_head.shared_conv", *PARTS):
        assert name in str(error.value)


def config_default() -> tuple[str, ...]:
    from lidarloop_training.stages.config import ALL_PARTS

    return ALL_PARTS


def test_other_widths_columns_and_encoders_are_refused(config: DetectionConfig, tmp_path: Path) -> None:
    path = saved(Public(has_bias=True).as_det3d(), tmp_path)
    wider = dataclasses.replace(config, network=dataclasses.replace(config.network, voxel_channels=(4, 6, 8, 12)))
    with pytest.raises(ConfigError, match=r"down\.2\.conv\.weight is \(10, 3, 3, 3, 8\) there and \(12, 3, 3, 3, 8\)"):
        start_from(path, PARTS, build(wider), wider)
    others = dataclasses.replace(config, spec=dataclasses.replace(SPEC, point_columns=("x", "y", "z", "ring", "dt")))
    with pytest.raises(ConfigError, match="received a network for x, y, z, intensity, dt; expected"):
        start_from(path, PARTS, build(others), others)
    level = "pts_middle_encoder.encoder_layers.encoder_layer1"
    plain = {f"{level}.{i}.0.weight": torch.zeros(4, 3, 3, 3, 4) for i in (0, 1)}
    with pytest.raises(ConfigError, match="expected residual blocks"):
        start_from(saved(plain, tmp_path), PARTS, build(config), config)


def test_files_of_something_else_are_refused(config: DetectionConfig, tmp_path: Path) -> None:
    network = build(config)
    (tmp_path / "junk.pth").write_bytes(b"junk")
    for path in (tmp_path / "junk.pth", tmp_path / "absent.pth"):
        with pytest.raises(ConfigError, match="cannot be read as a checkpoint of torch"):
            start_from(path, PARTS, network, config)
    with pytest.raises(ConfigError, match="nothing of CenterPoint's names"):
        start_from(saved({}, tmp_path), PARTS, network, config)
