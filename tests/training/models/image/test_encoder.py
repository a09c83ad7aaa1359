"""Encoders by configuration: the same answers for the same weights, tapped networks, errors with a remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import ConfigError, ModelFileError  # noqa: E402
from lidarloop_training.models.image.encoder import (  # noqa: E402
    ImageEncoderConfig,
    open_encoder,
    read_encoder,
    write_encoder,
)
from lidarloop_training.models.image.resnet import ResNet  # noqa: E402

PICTURE = np.random.default_rng(0).integers(0, 256, (45, 80, 3), np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    write_encoder(ResNet((1, 1, 1), 4), tmp_path / "encoder.safetensors")
    return tmp_path / "encoder.safetensors"


def test_a_written_encoder_is_read_again(file: Path) -> None:
    torch.manual_seed(0)
    expected, found = ResNet((1, 1, 1), 4), read_encoder(file)
    assert (found.blocks, found.width) == ((1, 1, 1), 4)
    assert all(torch.equal(found.state_dict()[name], value) for name, value in expected.state_dict().items())


def test_levels_are_chosen_of_the_same_maps(file: Path) -> None:
    all_levels = open_encoder(ImageEncoderConfig(path=file))
    coarse = open_encoder(ImageEncoderConfig(path=file, levels=(4,)))
    maps = all_levels.maps(PICTURE)
    assert [values.shape for values in maps] == [(16, 12, 20), (32, 6, 10), (64, 3, 5)]
    assert (all_levels.num_channels, coarse.num_channels) == (112, 64)
    np.testing.assert_array_equal(coarse.maps(PICTURE)[0], maps[2])
    assert all_levels.sha256 != coarse.sha256


def test_wide_pictures_are_shrunk_first(file: Path) -> None:
    small = open_encoder(ImageEncoderConfig(path=file, levels=(2,), max_width=40))
    assert small.maps(PICTURE)[0].shape == (16, 6, 10)


def test_a_random_encoder_depends_on_its_seed_alone() -> None:
    configs = [ImageEncoderConfig(kind="random", path=None, levels=(2,), seed=seed) for seed in (0, 0, 1)]
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first, again, other = (open_encoder(config).sha256 for config in configs)
    assert first == again != other
    assert torch.equal(torch.random.get_rng_state(), state)


def tiny_onnx(path: Path) -> Path:
    """A network of two layers: the picture doubled, and its mean over windows of four."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    nodes = [
        helper.make_node("Add", ["image", "image"], ["doubled"]),
        helper.make_node("AveragePool", ["doubled"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["pooled"], ["answer"]),
    ]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 16, 24])
    answer = helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, [1, 3, 1, 1])
    graph = helper.make_graph(nodes, "tiny", [image], [answer])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def test_maps_of_a_network_are_tapped_by_the_names_of_its_values(tmp_path: Path) -> None:
    path = tiny_onnx(tmp_path / "tiny.onnx")
    encoder = open_encoder(ImageEncoderConfig(kind="onnx", path=path, taps=("doubled", "pooled")))
    picture = np.zeros((16, 24, 3), np.uint8)
    picture[..., 0] = 50
    doubled, pooled = encoder.maps(picture)
    assert (doubled.shape, pooled.shape, encoder.num_channels) == ((3, 16, 24), (3, 4, 6), 6)
    assert (doubled[2] == 100).all()  # red, the last channel of BGR
    assert (doubled[:2] == 0).all()
    np.testing.assert_allclose(pooled[2], 100)
    scaled = open_encoder(ImageEncoderConfig(kind="onnx", path=path, taps=("doubled",), onnx_input="bgr-1"))
    np.testing.assert_allclose(scaled.maps(picture)[0][2], 100 / 255, rtol=1e-6)


@pytest.mark.real
def test_a_real_detector_gives_maps_of_three_levels(real_data: Path) -> None:
    config = ImageEncoderConfig(
        kind="onnx", path=real_data / "models2d/FastestDet.onnx", taps=taps_of(real_data / "models2d/FastestDet.onnx")
    )
    if not config.path.is_file():
        pytest.skip(f"{config.path} is not there")
    maps = open_encoder(config).maps(PICTURE)
    heights = [values.shape[1] for values in maps]
    assert heights == sorted(heights, reverse=True)
    assert all(np.isfinite(values).all() for values in maps)


def taps_of(path: Path) -> tuple[str, ...]:
    """The last value at each of the input's strides 8, 16 and 32."""
    onnx = pytest.importorskip("onnx")
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    height = {
        value.name: value.type.tensor_type.shape.dim[2].dim_value
        for value in graph.value_info
        if len(value.type.tensor_type.shape.dim) == 4
    }
    return tuple([name for name, rows in height.items() if rows == 352 // stride][-1] for stride in (8, 16, 32))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": None}, "received no file; expected one: --task.image.path"),
        ({"path": Path("absent.safetensors")}, "is no image encoder .* `lidarloop pretrain image-encoder` makes"),
        ({"kind": "onnx", "path": Path("absent.onnx")}, "cannot be read"),
    ],
)
def test_what_is_missing_is_named_with_a_remedy(changes: dict, said: str) -> None:
    with pytest.raises((ConfigError, ModelFileError), match=said):
        open_encoder(ImageEncoderConfig(**changes))


def test_a_tap_that_the_graph_does_not_have_is_refused(tmp_path: Path) -> None:
    path = tiny_onnx(tmp_path / "tiny.onnx")
    with pytest.raises(ConfigError, match=r"received middle for .*; expected names of values of its graph"):
        open_encoder(ImageEncoderConfig(kind="onnx", path=path, taps=("doubled", "middle")))
    with pytest.raises(ConfigError, match="received no tap"):
        open_encoder(ImageEncoderConfig(kind="onnx", path=path))


@pytest.mark.parametrize("levels", [(), (1,), (2, 2)])
def test_levels_that_there_are_not_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="levels"):
        ImageEncoderConfig(levels=levels)
