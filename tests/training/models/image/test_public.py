"""Public checkpoints: made ones with the names that the authors' files have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import ConfigError  # noqa: E402
from lidarloop_training.models.image.public import esvit, moco_v3  # noqa: E402
from lidarloop_training.models.image.resnet import ResNet  # noqa: E402
from lidarloop_training.models.image.swin import Swin  # noqa: E402


def saved(path: Path, document: Any) -> Path:
    torch.save(document, path)
    return path


def test_moco_v3_gives_its_base_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = ResNet()
    state = {f"module.base_encoder.{name}": value for name, value in encoder.state_dict().items()}
    state["module.base_encoder.layer4.0.conv1.weight"] = torch.zeros(512, 1024, 1, 1)
    state["module.base_encoder.fc.0.weight"] = torch.zeros(4096, 2048)
    state |= {
        f"module.momentum_encoder.{name}": torch.zeros_like(value) for name, value in encoder.state_dict().items()
    }
    state["module.predictor.0.weight"] = torch.zeros(4096, 256)
    found = moco_v3(saved(tmp_path / "r50.pth.tar", {"epoch": 100, "arch": "resnet50", "state_dict": state}))
    for name, value in encoder.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


@pytest.mark.parametrize("window", [7, 14])
def test_esvit_gives_its_teacher_with_windows_of_its_size(tmp_path: Path, window: int) -> None:
    torch.manual_seed(0)
    encoder = Swin(window=window)
    state = {f"module.backbone.{name}": value for name, value in encoder.state_dict().items()}
    state["module.backbone.layers.2.downsample.reduction.weight"] = torch.zeros(768, 1536)
    state["module.backbone.layers.3.blocks.0.norm1.weight"] = torch.zeros(768)
    state["module.backbone.layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    state["module.backbone.norm.weight"] = torch.zeros(768)
    state["module.head.mlp.0.weight"] = torch.zeros(2048, 768)
    student = {name: torch.zeros_like(value) for name, value in state.items()}
    found = esvit(saved(tmp_path / "swin.pth", {"student": student, "teacher": state, "epoch": 300}))
    for name, value in encoder.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_another_checkpoint_is_refused_by_the_first_name_that_differs(tmp_path: Path) -> None:
    other = saved(tmp_path / "other.pth", {"state_dict": {"module.base_encoder.conv1.weight": torch.zeros(8, 3, 7, 7)}})
    with pytest.raises(ConfigError, match=r"conv1.weight \(8, 3, 7, 7\) where \(64, 3, 7, 7\) fits; expected MoCo v3"):
        moco_v3(other)
    with pytest.raises(ConfigError, match=r"absent where .* fits; expected EsViT's Swin-T"):
        esvit(other)


def test_no_checkpoint_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.pth"
    path.write_text("weights")
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint of torch"):
        moco_v3(path)
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint of torch"):
        esvit(tmp_path / "absent.pth")
