"""Several images in the pixels of one: each is shrunk, and enlarged again before it is learned from."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate


def unfold(images: Tensor, formation: int) -> Tensor:
    """The `formation ** 2` tiles of each image (n, 3, px, px), enlarged to its size, image by image.

    Multi-formation of Kim et al. (ICML 2022, arXiv 2205.14959): neighbouring pixels tell a network much the same.
    """
    if formation == 1:
        return images
    n, colours, px, _ = images.shape
    side = px // formation
    tiles = images.view(n, colours, formation, side, formation, side).permute(0, 2, 4, 1, 3, 5)
    return enlarged(tiles.reshape(-1, colours, side, side), px)


def fold(tiles: Tensor, formation: int) -> Tensor:
    """The way back: images (n, 3, px, px) out of `n * formation ** 2` tiles of that size, each shrunk."""
    if formation == 1:
        return tiles
    _, colours, px, _ = tiles.shape
    side = px // formation
    small = interpolate(tiles, size=(side, side), mode="area")
    small = small.view(-1, formation, formation, colours, side, side).permute(0, 3, 1, 4, 2, 5)
    return small.reshape(-1, colours, px, px)


def enlarged(tiles: Tensor, px: int) -> Tensor:
    """Tiles at `px` pixels a side, bilinear."""
    return interpolate(tiles, size=(px, px), mode="bilinear", align_corners=False)
