"""Swin-T as a feature pyramid, with the authors' parameter names, which EsViT's checkpoints have.

Source: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021, sections 3.1
and 3.2. The last stage (1/32) and the classifier are left out: nothing here reads them. Pictures of any size are filled
up with zeros to whole windows; the filled places are cut off again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

SWIN_T = (2, 2, 6)
"""Blocks of Swin-T at 1/4, 1/8 and 1/16 of the picture."""

_HEADS = (3, 6, 12)
_PATCH = 4
_OTHER_REGION = -100.0
"""Added to the attention between places that are neighbours by the cyclic shift alone, as in the authors' code."""


class WindowAttention(nn.Module):
    """Self-attention within windows, with a bias for each relative position (section 3.2, equation 4)."""

    relative_position_index: Tensor

    def __init__(self, channels: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        row, column = place[:, :, None] - place[:, None, :] + window - 1
        self.register_buffer("relative_position_index", row * (2 * window - 1) + column)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Attention in each window.

        Args:
            windows: (B · W, P, C), P places of each of W windows of B maps.
            mask: (W, P, P) added to the attention's logits; None adds nothing.
        """
        num_windows, num_places, channels = windows.shape
        qkv = self.qkv(windows).view(num_windows, num_places, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(num_windows // len(mask), 1, 1, 1)
        query, key, value = qkv
        attended = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed: Tensor = self.proj(attended.transpose(1, 2).reshape(num_windows, num_places, channels))
        return mixed


class Mlp(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(…, channels) → the same shape."""
        mixed: Tensor = self.fc2(torch.nn.functional.gelu(self.fc1(x)))
        return mixed


class SwinBlock(nn.Module):
    """Window attention and an MLP, each beside a shortcut (figure 3b)."""

    def __init__(self, channels: int, num_heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, num_heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) → the same shape."""
        height, width = x.shape[1:3]
        filled = pad(self.norm1(x), (0, 0, 0, -width % self.window, 0, -height % self.window))
        # A map within one window has no neighbours to exchange with.
        shift = self.shift if min(height, width) > self.window else 0
        shifted = filled.roll((-shift, -shift), (1, 2)) if shift else filled
        mask = _region_mask(filled.shape[1], filled.shape[2], self.window, shift, x.device) if shift else None
        windows = _windows(shifted, self.window)
        mixed = _joined(self.attn(windows, mask), filled.shape, self.window)
        mixed = mixed.roll((shift, shift), (1, 2)) if shift else mixed
        x = x + mixed[:, :height, :width]
        mixed_channels: Tensor = x + self.mlp(self.norm2(x))
        return mixed_channels


class PatchMerging(nn.Module):
    """2 × 2 places side by side as channels, halved by a linear layer (section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) → (B, H / 2, W / 2, 2 C), rounded up."""
        x = pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        beside = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        merged: Tensor = self.reduction(self.norm(torch.cat(beside, dim=-1)))
        return merged


class SwinStage(nn.Module):
    """Blocks of one level, and the merging that leads to the next."""

    def __init__(self, channels: int, num_blocks: int, num_heads: int, window: int, *, is_last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(channels, num_heads, window, window // 2 if number % 2 else 0) for number in range(num_blocks)
        )
        self.downsample = None if is_last else PatchMerging(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) → the same shape, before the merging."""
        for block in self.blocks:
            x = block(x)
        return x


class PatchEmbedding(nn.Module):
    """4 × 4 pixels → a vector."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, _PATCH, _PATCH)
        self.norm = nn.LayerNorm(channels)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, H / 4, W / 4, C), rounded up."""
        pictures = pad(pictures, (0, -pictures.shape[3] % _PATCH, 0, -pictures.shape[2] % _PATCH))
        patches: Tensor = self.norm(self.proj(pictures).permute(0, 2, 3, 1))
        return patches


class Swin(nn.Module):
    """The first three levels of a Swin transformer.

    Args:
        blocks: blocks at each level, finest first; at most three.
        channels: channels of the first level, doubled at each that follows; a multiple of 3.
        window: places of a window, each way; EsViT has checkpoints with 7 and with 14.

    Attributes:
        channels: channels of each level's map.
    """

    def __init__(self, blocks: Sequence[int] = SWIN_T, channels: int = 96, window: int = 7) -> None:
        super().__init__()
        self.channels = tuple(channels * 2**level for level in range(len(blocks)))
        self.patch_embed = PatchEmbedding(channels)
        self.layers = nn.ModuleList(
            SwinStage(width, number, heads, window, is_last=level == len(blocks) - 1)
            for level, (width, number, heads) in enumerate(zip(self.channels, blocks, _HEADS, strict=False))
        )

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised pictures → one map (B, C, H / s, W / s) a level; see ``ResNet.forward``."""
        x, maps = self.patch_embed(pictures), []
        for stage in self.layers.children():
            assert isinstance(stage, SwinStage)
            x = stage(x)
            maps.append(x.permute(0, 3, 1, 2))
            x = x if stage.downsample is None else stage.downsample(x)
        return maps


def _windows(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) of whole windows → (B · windows, window², C)."""
    batch, height, width, channels = x.shape
    parts = x.view(batch, height // window, window, width // window, window, channels)
    return parts.transpose(2, 3).reshape(-1, window * window, channels)


def _joined(windows: Tensor, shape: Sequence[int], window: int) -> Tensor:
    """Inverse of ``_windows`` for a map of that shape (B, H, W, C)."""
    batch, height, width, channels = shape
    parts = windows.view(batch, height // window, width // window, window, window, channels)
    return parts.transpose(2, 3).reshape(batch, height, width, channels)


def _region_mask(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """(windows, window², window²): 0 within a region, ``_OTHER_REGION`` across the map's shifted edges (figure 4)."""
    bands = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    region = torch.zeros(1, height, width, 1, device=device)
    for row, rows in enumerate(bands):
        for column, columns in enumerate(bands):
            region[:, rows, columns] = 3 * row + column
    places = _windows(region, window)[..., 0]
    return (places[:, :, None] != places[:, None, :]) * _OTHER_REGION
