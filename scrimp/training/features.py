"""What a frozen backbone sees in images, computed once and kept, and the head that is solved on it.

Fine-tuning that starts from the best head for the frozen backbone bends the features less than one that starts from a
random head, and is more accurate (LP-FT: Kumar et al., ICLR 2022, arXiv 2202.10054). The head alone costs one forward
pass per image, where an epoch of training costs about three.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from scrimp.augment import Augmentation, augmentations
from scrimp.batches import Prepared, batches
from scrimp.cost import FREE, Cost, Stopwatch, shared_sensor
from scrimp.errors import SettingError
from scrimp.images.fingerprint import fingerprint
from scrimp.models import Classifier
from scrimp.models.fusing import fused
from scrimp.progress import bar
from scrimp.scores import MEASURES
from scrimp.training.evaluate import give_units, predict
from scrimp.training.hardware import best_device, keep_freed_memory, precision_for, work_out_of_place
from scrimp.training.heads import Head, Method, solve_head
from scrimp.training.keeping import identity_of, keep, read_kept
from scrimp.training.recipe import Recipe

_VERSION = 2  # of what is kept
_BATCH = 64
_LOOKED_AT = 256  # images that say how low the scores of a head go


class Features(NamedTuple):
    """What a head is given of n images in some views, float32 (views * n, d) on the CPU, view by view.

    labels: as `Images` holds them, once for each view. from_cache: they were there already; `cost` then says what
    making them had cost. note: why they could not be kept, if so.
    """

    values: Tensor
    labels: Tensor
    cost: Cost
    from_cache: bool
    note: str = ""


class Views(NamedTuple):
    """How often images are looked at: first the square that a model is evaluated on, then changed as in training.

    per_image: how many, 1 or more. augment: as in a `Recipe`; it and the seed say how all but the first are changed.
    """

    per_image: int = 1
    augment: str = "none"
    seed: int = 0

    def changes(self, ready: Prepared) -> list[Augmentation]:
        """What is done to all but the first view; raises `SettingError` where that is nothing."""
        changes = augmentations(self.augment, mirror_ok=ready.images.mirror_ok) if self.per_image > 1 else []
        if self.per_image > 1 and not changes:
            raise SettingError(
                f"{self.per_image} views with augment='{self.augment}' would be alike: augment, or take 1."
            )
        return changes


ONE_VIEW = Views()


def features_of(
    model: Classifier,
    ready: Prepared,
    rows: npt.NDArray[np.int64],
    *,
    views: Views = ONE_VIEW,
    precision: str = "auto",
) -> Features:
    """What the frozen backbone sees in images, from the cache or by one forward pass per image and view.

    The model is left as it is. Raises `SettingError` for views that could not differ. Cost: a forward pass per image
    and view in half the time of an ordinary one or less, `4 * views * n * d` bytes of memory and of disk.
    """
    name = _name(model, ready, rows, views, precision)
    labels = torch.from_numpy(ready.images.labels[rows])
    labels = torch.cat([labels] * views.per_image)
    kept = read_kept(name)
    if kept is not None and kept.tensors["values"].shape == (len(labels), _width(model)):
        return Features(kept.tensors["values"], labels, kept.cost, from_cache=True)
    with Stopwatch(shared_sensor()) as watch:
        values = _compute(model, ready, rows, views, precision)
    return Features(values, labels, watch.cost, from_cache=False, note=keep(name, {"values": values}, watch.cost))


class Solved(NamedTuple):
    """The best head for a frozen backbone, and how good it is on val, which chose its penalty.

    score: the measure of the task. loss: as in `Epoch`. cost: of features and head, had nothing been in the cache;
    paid_before: the part of it that an earlier run has paid. notes: what else is worth telling.
    """

    head: Head
    score: float
    loss: float
    cost: Cost
    paid_before: Cost
    notes: tuple[str, ...]


def best_head(
    model: Classifier, ready: Prepared, method: Method, *, views: Views = ONE_VIEW, precision: str = "auto"
) -> Solved:
    """Solves for the head of a model whose backbone stays as it is; the model is not changed, but for its units.

    views: of the training images; val is looked at once. Cost: as `features_of` for train and val, and `solve_head`.
    """
    images = ready.images
    give_units(model, ready)
    train = features_of(model, ready, images.rows("train"), views=views, precision=precision)
    val = features_of(model, ready, images.rows("val"), precision=precision)
    with Stopwatch(shared_sensor()) as watch:
        truth, val_truth = (_as_the_body_says(labels, model) for labels in (train.labels, val.labels))
        known = {"val_features": val.values, "val_labels": val_truth}
        head = solve_head(train.values, truth, images.task, images.outputs, method=method, **known)
        loss, score = head.score(val.values, val_truth, images.task)
    return Solved(
        head=head,
        score=score,
        loss=loss,
        cost=train.cost + val.cost + watch.cost,
        paid_before=sum((part.cost for part in (train, val) if part.from_cache), FREE),
        notes=tuple(part.note for part in (train, val) if part.note)[:1],  # both fail for the same reason
    )


def head_first(model: Classifier, ready: Prepared, recipe: Recipe) -> tuple[Cost, str]:
    """Gives the model the best head for its backbone as it is, by the recipe's method.

    Returns what an earlier run paid for features that came from the cache, which no clock of this run has seen, and
    what is worth telling. Raises `SettingError` for a head without a bias. Cost: as `best_head`.
    """
    assert recipe.head_first != "none"
    task = ready.images.task
    if task == "multilabel" and isinstance(model.head, nn.Conv2d):
        return FREE, f"{model.name} kept the head it had: behind it, a ReLU takes away all that says no to a label."
    views = Views(recipe.head_views, recipe.augment, recipe.seed)
    solved = best_head(model, ready, recipe.head_first, views=views, precision=recipe.precision)
    _give(model, solved.head, ready)
    count, measure = len(ready.images.rows("train")), MEASURES[task]
    seen = f"{count:,} images" if views.per_image == 1 else f"{views.per_image:,} views each of {count:,} images"
    told = f"The head was solved first, on frozen features of {seen}: {measure.phrase(solved.score)} on val."
    if solved.paid_before != FREE:
        told += f" The features were kept by an earlier run, which took {solved.paid_before.seconds:.1f} s for them."
    return solved.paid_before, " ".join([told, *solved.notes])


def _as_the_body_says(labels: Tensor, model: Classifier) -> Tensor:
    """Targets in standard deviations from their mean; classes and labels as they are."""
    if model.target_mean is None or model.target_sd is None:
        return labels
    return (labels - model.target_mean.cpu()) / model.target_sd.cpu()


@torch.no_grad()
def _give(model: Classifier, head: Head, ready: Prepared) -> None:
    layer = model.head
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    if layer.bias is None:
        raise SettingError(f"The head of {model.name} has no bias, so none can be solved for: take head_first='none'.")
    layer.weight.copy_(head.weight.view_as(layer.weight))
    layer.bias.copy_(head.bias)
    if isinstance(layer, nn.Conv2d):
        _lift(model, layer.bias, ready)


def _lift(model: Classifier, bias: Tensor, ready: Prepared) -> None:
    """Raises all scores of a head before a ReLU, at every position of an image, until none that we see is negative.

    So the ReLU, which stands between the head of a squeezenet and the average over the positions, changes nothing.
    Raising all scores alike does not change probabilities, and of targets it is taken off again by their mean.
    """
    lowest: list[float] = []
    handle = model.head.register_forward_hook(lambda _, inputs, scores: lowest.append(scores.min().item()))
    rows = ready.images.rows("train")
    predict(model, ready, rows[np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED_AT)).astype(np.int64)])
    handle.remove()
    lift = max(0.0, -min(lowest))
    bias += lift
    if model.target_mean is not None and model.target_sd is not None:
        model.target_mean -= lift * model.target_sd


# ---------------------------------------------------------------- looking


def _compute(
    model: Classifier,
    ready: Prepared,
    rows: npt.NDArray[np.int64],
    views: Views,
    precision: str,
) -> Tensor:
    """Features (views * n, d), each view in the order of `rows`."""
    device = best_device()
    dtype, _ = precision_for(precision, device)
    look, changes = _frozen(model, device, dtype), views.changes(ready)
    values = torch.empty(views.per_image, len(rows), _width(model))
    with bar(f"features of {model.name}", values[..., 0].numel()) as advance:
        for view in range(views.per_image if len(rows) else 0):
            order = torch.Generator().manual_seed(views.seed * 1_000_003 + view) if view else None
            parts: list[Tensor] = []
            seen: list[npt.NDArray[np.int64]] = []
            for batch in batches(ready, rows, _BATCH, order=order, changes=changes if view else (), device=device):
                with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    parts.append(look.features(batch.pixels.to(device)).float().cpu())
                seen.append(batch.rows)
                advance(len(batch.rows), "")
            as_seen, as_asked = (np.argsort(some, kind="stable") for some in (np.concatenate(seen), rows))
            values[view, as_asked] = torch.cat(parts)[as_seen]  # shuffling has changed their order
    return values.flatten(0, 1)


def _frozen(model: Classifier, device: torch.device, dtype: torch.dtype) -> Classifier:
    """A copy that only looks, and is up to twice as fast at it."""
    keep_freed_memory()
    copy = fused(model)
    copy.flips = False
    work_out_of_place(copy, device, dtype)
    there: Classifier = copy.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return there


def _width(model: Classifier) -> int:
    """Numbers that the head is given for an image."""
    weight = model.head.weight
    assert isinstance(weight, Tensor)
    return weight[0].numel()  # of a Linear, or of a convolution of one pixel


# ---------------------------------------------------------------- keeping


def _name(
    model: Classifier,
    ready: Prepared,
    rows: npt.NDArray[np.int64],
    views: Views,
    precision: str,
) -> str:
    """Differs wherever the features could: in the images, how they are stored and changed, and in the backbone."""
    head = f"body.{model.head_path}."
    backbone = {name: value for name, value in model.state_dict().items() if not name.startswith((head, "target_"))}
    dtype, _ = precision_for(precision, best_device())
    changed = [str(views.seed), views.augment, str(ready.images.mirror_ok)] if views.per_image > 1 else []
    return fingerprint(
        f"features {_VERSION} {model.name} {ready.image_px} px {views.per_image} {dtype}",
        identity_of(ready),
        rows,
        changed,
        list(backbone),
        *(value.cpu().numpy() for value in backbone.values()),
    )[:32]
