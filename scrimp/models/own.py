"""Our own small models, trained from scratch; each is a function of classes and image size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from scrimp.models.fast_cnn import fast_cnn, shrinks_at
from scrimp.models.table import USUAL_SHAPE, ModelCard, Shape


def vgg8(classes: int, image_px: int) -> nn.Module:
    """Six plain 3x3 convolutions, pooled after each pair, then 128 dense units; drawn for 32-pixel images.

    550,570 parameters with 10 classes. At other sizes the last maps are averaged to the 4x4 of 32 pixels. It begins
    with Glorot's weights, as in Keras, where it comes from: from PyTorch's smaller ones, plain SGD does not get going.
    """
    widths = (3, 32, 32, 64, 64, 128, 128)
    layers: list[nn.Module] = []
    for index in range(6):
        layers += [nn.Conv2d(widths[index], widths[index + 1], 3, padding=1), nn.ReLU(inplace=True)]
        if index % 2 == 1:
            layers.append(nn.MaxPool2d(2))
    dense = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128 * 16, 128), nn.ReLU(inplace=True))
    return _as_glorot_has_it(_with_head(nn.Sequential(*layers), dense, nn.Linear(128, classes)))


def vgg8_two(classes: int, image_px: int) -> nn.Module:
    """`vgg8` with a second output, which is one for every image: the step from one label to several.

    `forward` gives the first output alone, so that is what is learnt, measured and served. The second takes no part in
    the loss and thus stays at one; it is saved with the rest, and `both` gives the two.
    """
    return _TwoOutputs(vgg8(classes, image_px), features=128)


def simple_cnn(classes: int, image_px: int) -> nn.Module:
    """Two 3x3 convolutions with a pool after each, averaged to 4x4: 29,642 parameters with 10 classes."""
    layers = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )
    return _with_head(layers, nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()), nn.Linear(64 * 16, classes))


def ultralight(classes: int, image_px: int, shape: Shape = USUAL_SHAPE) -> nn.Module:
    """Dense convolutions where maps are large and channels few, separable ones at the deep end.

    Pools right after its stem, which does the rest of the shrinking for large images: maps of 24 to 48
    pixels come out of it for images of 49 to 192, so that a photo costs about what a thumbnail does. The
    parameters are the same at every size: 79,426 with 10 classes. Channels are 24, 64 and 128 times the
    shape's width, rounded to multiples of 8.
    """
    few, some, many = (max(8, round(channels * shape.width / 8) * 8) for channels in (24, 64, 128))
    layers = nn.Sequential(
        _stem(few, image_px),
        nn.MaxPool2d(2),
        _convolution(few, some),
        nn.MaxPool2d(2),
        *(_Plus(_convolution(some, some)) for _ in range(shape.depth)),
        nn.MaxPool2d(2),
        _convolution(some, many, kernel=1),
        *(_Plus(_separable(many)) for _ in range(shape.depth)),
    )
    if not shape.batch_norm:
        _without_batch_norm(layers)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return _with_head(layers, pool, nn.Linear(many, classes))


def _stem(channels: int, image_px: int) -> nn.Module:
    shrinks = _stem_shrinks(image_px)
    stem = _convolution(3, channels, stride=min(shrinks, 2))
    return stem.append(nn.MaxPool2d(2)) if shrinks == 4 else stem


def _stem_shrinks(image_px: int) -> int:
    if image_px <= 48:
        return 1
    return 2 if image_px <= 96 else 4


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _without_batch_norm(layers: nn.Module) -> None:
    """Puts a convolution with biases in place of each convolution and its norm."""
    for block in [module for module in layers.modules() if isinstance(module, nn.Sequential)]:
        for index in range(len(block) - 1, 0, -1):
            before = block[index - 1]
            if isinstance(block[index], nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                before.bias = nn.Parameter(before.weight.new_zeros(before.out_channels))
                del block[index]


def _separable(channels: int) -> nn.Sequential:
    return nn.Sequential(_convolution(channels, channels, groups=channels), _convolution(channels, channels, kernel=1))


class _Plus(nn.Module):
    """Adds what its inner part makes of the input to the input."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = maps + self.inner(maps)
        return added


class _TwoOutputs(nn.Module):
    """Two last layers on the same features."""

    def __init__(self, first: nn.Module, *, features: int) -> None:
        super().__init__()
        self.layers, self.pool, self.head = first.children()
        self.second = nn.Linear(features, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.ones_(self.second.bias)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(self.layers(images)))
        return logits

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, classes) and the second output (n, 1) of normalised images (n, 3, h, w)."""
        features = self.pool(self.layers(images))
        return self.head(features), self.second(features)


def _as_glorot_has_it(network: nn.Module) -> nn.Module:
    """Weights that keep variances alike forward and backward (Glorot and Bengio, 2010), and no biases."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def _with_head(layers: nn.Module, pool: nn.Module, head: nn.Linear) -> nn.Module:
    return nn.Sequential(OrderedDict(layers=layers, pool=pool, head=head))


OWN: dict[str, Callable[..., nn.Module]] = {
    "vgg8": vgg8,
    "vgg8_two": vgg8_two,
    "simple_cnn": simple_cnn,
    "ultralight": ultralight,
    "fast_cnn": fast_cnn,
}
"""Our models by name; each takes the number of classes and the image size, and a `Shape` where its card says so."""

_SHRINKS: dict[str, Callable[[int], int]] = {"ultralight": _stem_shrinks, "fast_cnn": shrinks_at}


def smallest_px(card: ModelCard, image_px: int) -> int:
    """Side from which a build for `image_px` takes images: some of ours, built for large ones, shrink all at first."""
    return card.min_px * (_SHRINKS[card.name](image_px) if card.name in _SHRINKS else 1)
