"""From a name to a classifier with its initial weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from scrimp.errors import SettingError, UnknownName, WeightsError
from scrimp.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier
from scrimp.models.own import OWN
from scrimp.models.table import MODELS, USUAL_SHAPE, ModelCard, Shape, has_one_shape
from scrimp.models.weights import fit_weights, read_weights, timm_file, torchvision_state

_TIMM = "timm:"
_TIMM_MIN_PX = 32  # halved five times, as in nearly all of timm, this leaves one position


def build(
    name: str,
    *,
    classes: int,
    image_px: int = 224,
    pretrained: bool = True,
    weights: str | Path | None = None,
    seed: int = 0,
    dropout: float | None = None,
    drop_path: float | None = None,
    shape: Shape = USUAL_SHAPE,
) -> Classifier:
    """Build a classifier, on the CPU.

    Args:
        name: a model of the table, or "timm:NAME".
        classes: how many there are, at least 1.
        image_px: side of the images that it is meant for; most models take other sizes later.
        pretrained: start from published ImageNet weights, where the model has any. Their head is kept only if
            they have as many classes.
        weights: a file to start from instead (.safetensors or a PyTorch state dict); `load_notes` tells
            what does not fit.
        dropout: part of the features that is dropped before the head while learning; None leaves what the model has.
        drop_path: chance that the deepest residual is dropped while learning (stochastic depth, arXiv 1603.09382),
            shallower ones less; None leaves what the model has, 0 drops none.
        shape: width, depth and whether there is batch norm, for models whose card says `shapes`.
        seed: decides all that is not loaded; the same seed gives the same numbers, and PyTorch's own random
            state is left as it was.

    Raises:
        UnknownName: neither table nor timm has the name.
        SettingError: `image_px` is too small for the model, `classes` below 1, it has no residuals to drop, or it has
            one shape only.
        WeightsError: the weights cannot be had, or do not fit.

    Example:
        >>> from scrimp.models import build
        >>> build("ultralight", classes=10, image_px=32).start
        'from scratch: no weights of ultralight are published'
    """
    card = _find(name)
    _check(name, card, classes, image_px, shape)
    wants_published = pretrained and weights is None
    with torch.random.fork_rng(devices=[]):
        # The CPU's generator alone: torch.manual_seed would disturb those of the accelerators.
        torch.default_generator.manual_seed(seed)
        if card is None or card.source == "timm":
            classifier = _from_timm(name, card, classes, image_px, wants_published, drop_path)
        else:
            classifier = _from_code(card, classes, image_px, wants_published, shape)
    if dropout is not None:
        _set_dropout(classifier, dropout)
    if drop_path is not None:
        _set_drop_path(classifier, drop_path)
    if weights is not None:
        classifier.load_notes = fit_weights(classifier, read_weights(Path(weights)), f"'{weights}'")
        classifier.start = f"weights {weights}"
    return classifier


def _find(name: str) -> ModelCard | None:
    """The model's card; None for one of timm's that the table does not hold."""
    if name in MODELS:
        return MODELS[name]
    if not name.startswith(_TIMM):
        where = f"'scrimp models' lists all {len(MODELS)}, and any of timm's is 'timm:NAME'."
        raise UnknownName("model", name, MODELS, where)
    import timm

    architecture, _, tag = name.removeprefix(_TIMM).partition(".")
    if not timm.is_model(architecture):
        where = "timm.list_models() lists all."
        raise UnknownName("model in timm", architecture, timm.list_models(), where)
    if tag and f"{architecture}.{tag}" not in (tagged := timm.list_pretrained(architecture)):
        raise UnknownName("weights in timm", f"{architecture}.{tag}", tagged)
    return None


def _check(name: str, card: ModelCard | None, classes: int, image_px: int, shape: Shape) -> None:
    min_px = card.min_px if card else _TIMM_MIN_PX
    if image_px < min_px:
        raise SettingError(f"image_px={image_px} is too small for {name}, which works from {min_px}.")
    if classes < 1:
        raise SettingError(f"classes={classes}: a classifier needs at least 1.")
    if shape != USUAL_SHAPE and not (card and card.shapes):
        raise SettingError(has_one_shape(name, shape))


def _from_code(card: ModelCard, classes: int, image_px: int, pretrained: bool, shape: Shape) -> Classifier:
    """A model of torchvision or our own."""
    classifier = Classifier(_plain_body(card, classes, image_px, shape), name=card.name, head=card.head)
    classifier.shape = shape
    if pretrained and card.weights is None:
        classifier.start = f"from scratch: no weights of {card.name} are published"
    elif pretrained:
        # Its notes tell only of the published head, which nobody expects to be kept.
        fit_weights(classifier, torchvision_state(card), str(card.weights))
        classifier.start = f"ImageNet weights {card.weights}"
    return classifier


def _plain_body(card: ModelCard, classes: int, image_px: int, shape: Shape) -> nn.Module:
    if card.source == "scrimp":
        return OWN[card.name](classes, image_px, *([shape] if card.shapes else []))
    from torchvision.models import get_model

    body: nn.Module = get_model(card.name, weights=None, num_classes=classes)
    return body


def _from_timm(
    name: str, card: ModelCard | None, classes: int, image_px: int, pretrained: bool, drop_path: float | None
) -> Classifier:
    timm_name = str(card.weights).split("/")[1] if card else name.removeprefix(_TIMM)
    published = _published_by_timm(timm_name)
    file = timm_file(name, published) if pretrained and published else None
    body = _timm_body(name, timm_name, classes, image_px, file, drop_path)
    config = body.pretrained_cfg
    classifier = Classifier(
        body,
        name=name,
        head=card.head if card else _head_path(name, body),
        mean=config.get("mean") or IMAGENET_MEAN,
        std=config.get("std") or IMAGENET_STD,
    )
    if file is not None:
        classifier.start = f"ImageNet weights {published}"
    elif pretrained:
        classifier.start = f"from scratch: no weights of {name} are published"
    return classifier


def _published_by_timm(timm_name: str) -> str | None:
    from timm.models import get_pretrained_cfg

    config: Any = get_pretrained_cfg(timm_name)
    if config is None or not config.hf_hub_id:
        return None
    return f"{config.hf_hub_id}/{config.hf_hub_filename or 'model.safetensors'}"


def _timm_body(
    name: str, timm_name: str, classes: int, image_px: int, file: Path | None, drop_path: float | None
) -> Any:
    import timm
    from timm.models import get_pretrained_cfg

    config: Any = get_pretrained_cfg(timm_name)
    more: dict[str, Any] = {"img_size": image_px} if config and config.fixed_input_size else {}
    more |= {"drop_path_rate": drop_path} if drop_path else {}
    try:
        return timm.create_model(
            timm_name,
            pretrained=file is not None,
            # The file itself, so that weights at hand are used without a question to the hub; before 1.0.31, timm took
            # a file of its usual ViTs for the .npz that these were first published as.
            pretrained_cfg_overlay={"file": str(file), "custom_load": False} if file is not None else None,
            num_classes=classes,
            **more,
        )
    except (TypeError, ValueError, AssertionError) as error:  # how timm's models refuse an image size
        if drop_path and "drop_path_rate" in str(error):
            raise _nothing_to_drop(name, drop_path) from error
        raise SettingError(f"{name} cannot be built for image_px={image_px}: {error}.") from error
    except (SafetensorError, RuntimeError, KeyError, OSError) as error:
        if file is None:
            raise
        # Of a link in the hub's cache the target is told: were only the link deleted, nothing would be fetched.
        raise WeightsError(
            f"The weights '{file.resolve()}' cannot be loaded into {name}: {error}. Delete it to have it fetched again."
        ) from error


def takes_one_size(name: str) -> bool:
    """Whether a model, once built, refuses images of another size than it was built for: transformers of timm's do."""
    from timm.models import get_pretrained_cfg

    config: Any = get_pretrained_cfg(name.removeprefix("timm:")) if name.startswith("timm:") else None
    return bool(config and config.fixed_input_size)


def head_dropouts(classifier: Classifier) -> list[nn.Dropout]:
    """The model's own dropouts before its head: of the block that the head stands in, or, named so, of the whole."""
    body, (block, _, _) = classifier.body, classifier.head_path.rpartition(".")
    beside = body.get_submodule(block).modules() if block else [getattr(body, "head_drop", None)]
    return [module for module in beside if isinstance(module, nn.Dropout)]


def _set_dropout(classifier: Classifier, chance: float) -> None:
    """In the dropouts that the model has before its head; one that has none drops what its head is given."""
    own = head_dropouts(classifier)
    for module in own:
        module.p = chance
    if not own:
        drop = nn.functional.dropout
        classifier.head.register_forward_pre_hook(lambda head, inputs: drop(inputs[0], chance, head.training))


def _set_drop_path(classifier: Classifier, chance: float) -> None:
    """Torchvision's models have the rates of ImageNet built in, which are scaled; timm's were built with theirs.

    None of timm's is built with 0: not all of them can be asked for it.
    """
    from timm.layers.drop import DropPath
    from torchvision.ops import StochasticDepth

    torchvisions = [module for module in classifier.modules() if isinstance(module, StochasticDepth)]
    timms = [module for module in classifier.modules() if isinstance(module, DropPath)]
    deepest = max((module.p for module in torchvisions), default=0.0)
    for module in torchvisions:
        module.p *= chance / deepest
    if not chance:
        for module in timms:
            module.drop_prob = 0.0
    elif not torchvisions and not timms:
        raise _nothing_to_drop(classifier.name, chance)


def _nothing_to_drop(name: str, chance: float) -> SettingError:
    return SettingError(f"drop_path={chance}: {name} has no residuals that can be dropped: leave it out.")


def _head_path(name: str, body: Any) -> str:
    head = body.get_classifier()
    for path, module in body.named_modules():
        if module is head and isinstance(module, nn.Linear | nn.Conv2d):
            return str(path)
    raise SettingError(f"{name} has no single final layer: take another of timm's models.")
