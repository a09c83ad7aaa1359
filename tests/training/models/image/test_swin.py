"""The Swin transformer against transformers', which is another implementation of the same paper."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lidarloop_training.models.image.swin import Swin, _joined, _windows  # noqa: E402


def test_windows_are_cut_and_joined_again() -> None:
    x = torch.arange(2 * 6 * 9 * 2, dtype=torch.float32).view(2, 6, 9, 2)
    windows = _windows(x, 3)
    assert windows.shape == (2 * 2 * 3, 9, 2)
    assert torch.equal(windows[1], x[0, :3, 3:6].reshape(9, 2))
    assert torch.equal(_joined(windows, x.shape, 3), x)


@pytest.mark.parametrize("size", [(56, 84), (45, 70)])
def test_maps_equal_those_of_another_implementation(size: tuple[int, int]) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(
        embed_dim=12, depths=[2, 2, 2], num_heads=[3, 6, 12], window_size=3, out_features=["stage1", "stage2", "stage3"]
    )
    torch.manual_seed(0)
    theirs: Any = transformers.SwinModel(config, add_pooling_layer=False).eval()
    ours = Swin((2, 2, 2), 12, window=3).eval()
    ours.load_state_dict(from_theirs(theirs.state_dict(), ours.state_dict()))
    pictures = torch.randn(1, 3, *size)
    with torch.no_grad():
        found = ours(pictures)
        # Theirs gives the maps before each stage's merging by this switch.
        embedded, dimensions = theirs.embeddings(pictures)
        expected = theirs.encoder(
            embedded, dimensions, output_hidden_states=True, output_hidden_states_before_downsampling=True
        ).reshaped_hidden_states
    for ours_at, theirs_at in zip(found, expected[1:], strict=True):
        torch.testing.assert_close(ours_at, theirs_at, atol=1e-4, rtol=1e-4)


def from_theirs(weights: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Their weights under our names: query, key and value are one layer here."""
    if not any("attention.q_proj" in name for name in weights):
        pytest.skip("this version of transformers names the layers of its Swin otherwise")
    state = {}
    for name in ours:
        if name.endswith("relative_position_index"):
            state[name] = ours[name]
        elif ".qkv." in name:
            parts = (weights[_their_name(name).replace("qkv", f"{kind}_proj")] for kind in "qkv")
            state[name] = torch.cat(list(parts))
        else:
            state[name] = weights[_their_name(name)]
    return state


def _their_name(name: str) -> str:
    changes = {
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "patch_embed.norm": "embeddings.norm",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.relative_position_bias_table": "attention.relative_position_bias.relative_position_bias_table",
        "attn.proj": "attention.o_proj",
        "attn.": "attention.",
    }
    for ours, theirs in changes.items():
        name = name.replace(ours, theirs)
    return f"encoder.{name}" if name.startswith("layers.") else name
