"""The residual network against transformers', which is another implementation of the same figure."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lidarloop_training.models.image.resnet import RESNET50, ResNet  # noqa: E402


def test_the_weights_of_a_resnet50_have_torchvisions_names_and_shapes() -> None:
    shapes = {name: tuple(value.shape) for name, value in ResNet().state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer2.0.conv2.weight"] == (128, 128, 3, 3)
    assert shapes["layer3.5.bn3.running_var"] == (1024,)
    assert not any(name.startswith(("layer3.6", "layer4", "fc")) for name in shapes)
    assert ResNet(RESNET50).channels == (256, 512, 1024)


def test_maps_equal_those_of_another_implementation() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[32, 64, 128], depths=[1, 2, 1], out_features=["stage1", "stage2", "stage3"]
    )
    torch.manual_seed(0)
    theirs = transformers.ResNetBackbone(config).eval()
    ours = ResNet((1, 2, 1), 8).eval()
    # Both name their layers in the order of the forward pass, but for the shortcut, which theirs has before the rest.
    weights = theirs.state_dict()
    ours.load_state_dict({name: weights[their_name(name)] for name in ours.state_dict()})
    pictures = torch.randn(2, 3, 45, 80)
    with torch.no_grad():
        for found, expected in zip(ours(pictures), theirs(pictures).feature_maps, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def their_name(name: str) -> str:
    first, *rest = name.split(".")
    kinds = {"conv": "convolution", "bn": "normalization"}
    if not first.startswith("layer"):
        kind = kinds[first.rstrip("0123456789")]
        return ".".join(["embedder.embedder", kind, *rest])
    block, layer, *rest = rest
    place = f"encoder.stages.{int(first[5:]) - 1}.layers.{block}"
    if layer == "downsample":
        kind = ("convolution", "normalization")[int(rest[0])]
        return ".".join([place, "shortcut", kind, *rest[1:]])
    return ".".join([place, "layer", str(int(layer[-1]) - 1), kinds[layer[:-1]], *rest])
