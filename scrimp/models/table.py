"""The table of models: what each one weighs, where its weights come from. It does not import PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Source = Literal["torchvision", "timm", "scrimp"]


class Shape(NamedTuple):
    """What can be chosen of a model whose card says `shapes`; the defaults are the model as it was drawn.

    width: factor on the channels of every layer, above 0. depth: how often each residual block is there, at least 1.
    batch_norm: without it, convolutions have biases instead.
    """

    width: float = 1.0
    depth: int = 1
    batch_norm: bool = True


USUAL_SHAPE = Shape()


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What is known of a model before it is built."""

    name: str
    """What `build`, `Recipe` and the command line call it."""
    source: Source
    """The library that defines it; "scrimp" for our own."""
    parameters: int
    """Trainable numbers with 1,000 classes."""
    head: str
    """Path of the classifier layer inside the body, such as "classifier.3"."""
    weights: str | None = None
    """The published file as its library names it (a Hugging Face path for timm); None: there is none."""
    weights_px: int | None = None
    """Side of the images that the published weights were trained at."""
    min_px: int = 1
    """Smallest image side that goes through, in training and in use; see `smallest_px` for builds for larger images."""
    shapes: bool = False
    """Whether it can be built in another `Shape`; `parameters` counts the usual one."""
    note: str = ""
    """Why one would take it, in a line."""

    @property
    def size_mb(self) -> float:
        """Millions of bytes of its parameters as 32-bit floats, with 1,000 classes."""
        return self.parameters * 4 / 1e6


_CARDS = (
    ModelCard(
        name="mobilenet_v3_small",
        source="torchvision",
        parameters=2_542_856,
        head="classifier.3",
        weights="mobilenet_v3_small-047dcff4.pth",
        weights_px=224,
        note="the fastest pretrained model here; the usual first try",
    ),
    ModelCard(
        name="mobilenet_v3_large",
        source="torchvision",
        parameters=5_483_032,
        head="classifier.3",
        weights="mobilenet_v3_large-5c1a4163.pth",
        weights_px=224,
        note="more accurate than the small one for about four times its arithmetic",
    ),
    ModelCard(
        name="mnasnet0_5",
        source="torchvision",
        parameters=2_218_512,
        head="classifier.1",
        weights="mnasnet0.5_top1_67.823-3ffadce67e.pth",
        weights_px=224,
        note="found by a search for speed on phones",
    ),
    ModelCard(
        name="shufflenet_v2_x0_5",
        source="torchvision",
        parameters=1_366_792,
        head="fc",
        weights="shufflenetv2_x0.5-f707e7126e.pth",
        weights_px=224,
        note="least arithmetic of the pretrained models",
    ),
    ModelCard(
        name="shufflenet_v2_x1_0",
        source="torchvision",
        parameters=2_278_604,
        head="fc",
        weights="shufflenetv2_x1-5666bf0f80.pth",
        weights_px=224,
        note="the wider shufflenet",
    ),
    ModelCard(
        name="tiny_vit_5m",
        source="timm",
        parameters=5_392_764,
        head="head.fc",
        weights="timm/tiny_vit_5m_224.dist_in22k_ft_in1k/model.safetensors",
        weights_px=224,
        note="a small vision transformer, distilled from a large one: accurate, and slower per image",
    ),
    ModelCard(
        name="mobilenetv4_conv_small",
        source="timm",
        parameters=3_774_024,
        head="classifier",
        weights="timm/mobilenetv4_conv_small.e2400_r224_in1k/model.safetensors",
        weights_px=224,
        note="plain convolutions arranged for every kind of hardware",
    ),
    ModelCard(
        name="lcnet_100",
        source="timm",
        parameters=2_953_800,
        head="classifier",
        weights="timm/lcnet_100.ra2_in1k/model.safetensors",
        weights_px=224,
        note="made for CPUs",
    ),
    ModelCard(
        name="edgenext_small",
        source="timm",
        parameters=5_586_832,
        head="head.fc",
        weights="timm/edgenext_small.usi_in1k/model.safetensors",
        weights_px=256,
        min_px=32,
        note="convolutions with some attention",
    ),
    ModelCard(
        name="convnext_atto",
        source="timm",
        parameters=3_695_520,
        head="head.fc",
        weights="timm/convnext_atto.d2_in1k/model.safetensors",
        weights_px=224,
        min_px=32,
        note="the smallest ConvNeXt",
    ),
    ModelCard(
        name="mobilenet_v2",
        source="torchvision",
        parameters=3_504_872,
        head="classifier.1",
        weights="mobilenet_v2-7ebf99e0.pth",
        weights_px=224,
        note="old, robust, and supported by every runtime",
    ),
    ModelCard(
        name="efficientnet_b0",
        source="torchvision",
        parameters=5_288_548,
        head="classifier.1",
        weights="efficientnet_b0_rwightman-7f5810bc.pth",
        weights_px=224,
        note="accurate for its size, slow to train for its arithmetic",
    ),
    ModelCard(
        name="squeezenet1_0",
        source="torchvision",
        parameters=1_248_424,
        head="classifier.1",
        weights="squeezenet1_0-b66bff10.pth",
        weights_px=224,
        min_px=21,
        note="few parameters, no BatchNorm",
    ),
    ModelCard(
        name="squeezenet1_1",
        source="torchvision",
        parameters=1_235_496,
        head="classifier.1",
        weights="squeezenet1_1-b8a52dc0.pth",
        weights_px=224,
        min_px=17,
        note="less than half the arithmetic of squeezenet1_0",
    ),
    ModelCard(
        name="resnet18",
        source="torchvision",
        parameters=11_689_512,
        head="fc",
        weights="resnet18-f37072fd.pth",
        weights_px=224,
        note="what the light models are usually compared with",
    ),
    ModelCard(
        name="resnet34",
        source="torchvision",
        parameters=21_797_672,
        head="fc",
        weights="resnet34-b627a593.pth",
        weights_px=224,
        note="a deeper resnet18",
    ),
    ModelCard(
        name="resnet50",
        source="torchvision",
        parameters=25_557_032,
        head="fc",
        weights="resnet50-11ad3fa6.pth",
        weights_px=224,
        note="the field's yardstick",
    ),
    ModelCard(
        name="resnet101",
        source="torchvision",
        parameters=44_549_160,
        head="fc",
        weights="resnet101-cd907fc2.pth",
        weights_px=224,
        note="heavy: for a GPU",
    ),
    ModelCard(
        name="resnet152",
        source="torchvision",
        parameters=60_192_808,
        head="fc",
        weights="resnet152-f82ba261.pth",
        weights_px=224,
        note="heavier still: for a GPU",
    ),
    ModelCard(
        name="vgg16",
        source="torchvision",
        parameters=138_357_544,
        head="classifier.6",
        weights="vgg16-397923af.pth",
        weights_px=224,
        min_px=32,
        note="for comparison with older work; 553 MB",
    ),
    ModelCard(
        name="vgg8",
        source="scrimp",
        parameters=678_280,
        head="head",
        min_px=8,
        note="six convolutions for 32-pixel images, from scratch",
    ),
    ModelCard(
        name="vgg8_two",
        source="scrimp",
        parameters=678_409,
        head="head",
        min_px=8,
        note="vgg8 with a second output of ones, which takes no part in the loss",
    ),
    ModelCard(
        name="simple_cnn",
        source="scrimp",
        parameters=1_044_392,
        head="head",
        min_px=4,
        note="two convolutions, from scratch: a baseline and a quick check",
    ),
    ModelCard(
        name="ultralight",
        source="scrimp",
        parameters=207_136,
        head="head",
        min_px=8,
        shapes=True,
        note="under 100,000 parameters with 10 classes: good from scratch, quick on a CPU",
    ),
    ModelCard(
        name="fast_cnn",
        source="scrimp",
        parameters=2_226_944,
        head="head",
        min_px=9,
        note="from scratch on small images: the most accurate for its time",
    ),
)

MODELS: dict[str, ModelCard] = {card.name: card for card in _CARDS}
"""Every model by name, in the order that the documentation shows them."""


def has_one_shape(name: str, shape: Shape) -> str:
    """What to say to somebody who asks for another shape of a model that has one only."""
    asked = ", ".join(
        f"{field}={value}" for field, value in shape._asdict().items() if value != getattr(USUAL_SHAPE, field)
    )
    able = ", ".join(card.name for card in _CARDS if card.shapes)
    return f"{asked}: the shape of {name} is fixed; it can be chosen of {able}."


def list_models() -> list[ModelCard]:
    """The cards of all models, fewest parameters first."""
    return sorted(MODELS.values(), key=lambda card: card.parameters)
