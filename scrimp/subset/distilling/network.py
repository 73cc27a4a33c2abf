"""The small network of this literature, ConvNet, by whose features images are learned and judged."""

from __future__ import annotations

from collections.abc import Callable
from math import log2

import torch
from torch import Tensor, nn

from scrimp.errors import SettingError
from scrimp.training.hardware import precision_for


def machine() -> tuple[torch.device, torch.dtype]:
    """CUDA, else the CPU, and the number format of networks there; never float16, for no loss is scaled here."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype, _ = precision_for("auto", device)
    return device, torch.float32 if dtype is torch.float16 else dtype


class ConvNet(nn.Module):
    """Blocks of 3x3 convolution, norm, ReLU and 2x2 average, down to 4 pixels a side; then one linear layer.

    Three blocks of 128 channels at 32 pixels, as Gidaris and Komodakis (CVPR 2018) and all papers on distillation have
    it. norm: "instance", as most of them, or "none", as FRePo, which takes a third of the time on a CPU.
    """

    def __init__(self, classes: int, image_px: int, *, width: int = 128, norm: str = "instance") -> None:
        """image_px: 8 or more, a power of two."""
        super().__init__()
        depth = round(log2(image_px)) - 2
        if depth < 1 or 2 ** (depth + 2) != image_px:
            raise SettingError(f"Images are learned at a power of two of pixels a side, 8 or more, not {image_px}.")
        layers: list[nn.Module] = []
        for block in range(depth):
            layers += [nn.Conv2d(width if block else 3, width, 3, padding=1)]
            layers += [nn.GroupNorm(width, width)] if norm == "instance" else []
            layers += [nn.ReLU(), nn.AvgPool2d(2)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(width * 16, classes)
        if norm == "none":  # what no norm brings back to size must begin there: LeCun's, as in FRePo
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    assert layer.bias is not None
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                    nn.init.zeros_(layer.bias)
        # On a CPU, the way back through instance norm in bfloat16 is ten times as slow with channels last, and all that
        # is without it twice as slow with channels first.
        self.form = torch.contiguous_format if norm == "instance" else torch.channels_last
        self.to(memory_format=self.form)

    def features(self, images: Tensor) -> Tensor:
        """(n, 16 * width) of images (n, 3, px, px)."""
        form = self.form if torch.is_grad_enabled() else torch.channels_last  # looking alone, all are faster so
        features: Tensor = self.body(images.contiguous(memory_format=form))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


_PIXELS = 256 * 32 * 32  # of images in a network at once, so that memory does not grow with the side


def in_blocks(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What a network gives for images (n, 3, px, px), block by block, where no gradient is wanted."""
    blocks = torch.split(images, max(1, _PIXELS // images.shape[-1] ** 2))
    return torch.cat([network(block) for block in blocks])
