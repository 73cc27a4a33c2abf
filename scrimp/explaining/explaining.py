"""From a run to its explanation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from scrimp.batches import Prepared, batches
from scrimp.batches.reading import square_of_file
from scrimp.cost import Stopwatch, shared_sensor
from scrimp.errors import ImageError, NotFound, StorageError
from scrimp.explaining.calibration import calibrate
from scrimp.explaining.classes import qualities_of_classes, qualities_of_labels, side_by_side
from scrimp.explaining.corruption import CORRUPTIONS
from scrimp.explaining.kinds import Corrupted, Explanation, Looked, Robustness
from scrimp.explaining.looking import Pick, jpeg_uri, least_sure, look_closely, most_wrong
from scrimp.heat_maps import Pixels, find_layer
from scrimp.images import LeftOut
from scrimp.images.kinds import Split, Task
from scrimp.meter import Run, load_run
from scrimp.models.saved import BOXED, Loaded, load_model, read_facts
from scrimp.progress import bar
from scrimp.scores import Scores, merit, score, unscorable
from scrimp.store import read_bytes
from scrimp.sweeping import found_again
from scrimp.training.evaluate import predict
from scrimp.training.hardware import best_device

_BATCH = 64

_NOT_OF_TASK: dict[Task, tuple[str, ...]] = {
    "classify": (),
    "multilabel": ("The confusion matrix: an image may have several labels, so that none is taken for another.",),
    "regress": (
        "Calibration, the least sure images, precision and recall, and the confusion matrix: a target has no "
        "probability and no class.",
    ),
}


def explain(
    run: Run | str | Path, images: Sequence[str] | None = None, *, pictured: int = 8, corrupted: int = 500
) -> Explanation:
    """Why a trained model is right or wrong, on images of your own and on those that its run was reported on.

    run: a run, or its folder. images: files or URIs to look at. pictured: how many of the surest mistakes, and of the
    least sure images, to look at. corrupted: on how many images at most, drawn by chance (the same each time), the
    effect of blur, noise, JPEG and brightness is measured.
    The run's images are found again by its plan. Figures come from test, or from val where test allows none; only the
    temperature is fitted, on val. Where the run's images are gone, `images` are explained alone, and that is told.

    Raises `NotFound` without a run or a model in the folder, or where the run's images are gone and no others were
    given, `ImageError` where the plan now finds other classes. Cost: one forward pass per test and val image and 13 per
    corrupted one, about 60 per image that is looked at. Memory beside what the model takes: a batch of images, and some
    30 bytes per image and class of the larger of test and val (50,000 images of 1,000 classes: 1.5 GB).
    """
    with Stopwatch(shared_sensor()) as watch:
        known = run if isinstance(run, Run) else load_run(run)
        loaded = load_model(known.folder or "")
        loaded.model.to(best_device())
        given, unreadable = _look_at_files(loaded, images or ())
        try:
            parts = _on_own_images(known, loaded, pictured, corrupted)
        except (ImageError, NotFound, StorageError) as error:
            if not images:
                raise
            parts = {"left_out": (f"All that needs the run's own images: {error}",)}
        if images and read_facts(known.folder or "").get("boxed"):
            parts["notes"] = (*parts.get("notes", ()), BOXED)
        layer = find_layer(loaded.model, _noise(loaded.image_px))
    return Explanation(
        model=loaded.model.name,
        folder=str(known.folder),
        task=loaded.task,
        classes=loaded.classes,
        image_px=loaded.image_px,
        layer=layer.path,
        grid=layer.side,
        given=given,
        unreadable=unreadable,
        cost=watch.cost,
        **parts,
    )


def _noise(px: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (px, px, 3), dtype=np.uint8)


# ---------------------------------------------------------------- images that were given


def _look_at_files(loaded: Loaded, files: Sequence[str]) -> tuple[tuple[Looked, ...], tuple[LeftOut, ...]]:
    """What speaks for the likeliest class or label of each, or for a larger target; and those that cannot be read."""
    looked, unreadable = [], []
    with bar("looking at images", len(files)) as advance:
        for file in files:
            try:
                pixels = square_of_file(file, read_bytes(file), loaded.image_px)
            except (ImageError, NotFound, StorageError) as error:
                unreadable.append(LeftOut(file, str(error)))
            else:
                [outputs] = _outputs(loaded, pixels[None])
                looked.append(look_closely(loaded, file, pixels, outputs, int(outputs.argmax())))
            advance(1, "")
    return tuple(looked), tuple(unreadable)


def _outputs(loaded: Loaded, pixels: Pixels) -> npt.NDArray[np.float32]:
    """Outputs (n, outputs) of pixels uint8 (n, px, px, 3)."""
    fed = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).to(loaded.model.mean.device)
    with torch.inference_mode():
        answer: npt.NDArray[np.float32] = loaded.model(fed).float().cpu().numpy()
    return answer


# ---------------------------------------------------------------- images of the run


def _on_own_images(run: Run, loaded: Loaded, pictured: int, corrupted: int) -> dict[str, Any]:
    """All parts of an explanation that need the images of the run."""
    ready, changed = _images_of(run, loaded)
    images, task = ready.images, loaded.task
    parts: dict[str, Any] = {"notes": changed, "left_out": _NOT_OF_TASK[task]}
    split = next((split for split in _REPORTED if not unscorable(task, images.labels[images.rows(split)])), None)
    if split is None:
        parts["left_out"] += ("All figures: neither test nor val has images that allow a score.",)
        return parts
    rows = images.rows(split)
    truth, outputs = images.labels[rows], predict(loaded.model, ready, rows).numpy()
    scores = score(task, truth, outputs, len(images.classes))
    parts |= {"split": split, "scores": scores, "order": ()}
    if isinstance(scores, Scores):
        parts["qualities"] = qualities_of_classes(loaded.classes, scores.confusion)
        parts["order"] = side_by_side(scores.confusion)
    elif task == "multilabel":
        parts["qualities"] = qualities_of_labels(loaded.classes, truth, outputs)
    if task != "regress":
        val = _for_temperature(loaded, ready, split)
        parts["calibration"] = calibrate(task, split, truth, outputs, val)
        if val is None:
            parts["left_out"] += (_NO_TEMPERATURE,)
    parts["mistakes"] = _look_at(loaded, ready, rows, outputs, most_wrong(task, truth, outputs, pictured))
    parts["unsure"] = _look_at(loaded, ready, rows, outputs, least_sure(task, outputs, pictured))
    parts["robustness"] = _robustness(loaded, ready, split, corrupted)
    if parts["robustness"] is None:
        parts["left_out"] += ("The effect of worse images: those that were drawn allow no score.",)
    return parts


_REPORTED: tuple[Split, ...] = ("test", "val")

_NO_TEMPERATURE = (
    "The temperature: without both a test and a val split it would be judged by the images that it was fitted on."
)


def _images_of(run: Run, loaded: Loaded) -> tuple[Prepared, tuple[str, ...]]:
    """As `found_again`. Raises `ImageError` where their classes are others by now."""
    ready, changed = found_again(run)
    if ready.images.classes != loaded.classes:
        raise ImageError(
            f"'{run.plan.images.source}' now has {len(ready.images.classes):,} classes, but the model knows "
            f"{len(loaded.classes):,} others: put the images back as they were, or train again."
        )
    return ready, changed


def _for_temperature(
    loaded: Loaded, ready: Prepared, split: Split
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]] | None:
    """Labels and outputs of val, where val is not what is reported and can teach anything."""
    images = ready.images
    rows = images.rows("val")
    if split == "val" or unscorable(loaded.task, images.labels[rows]):
        return None
    return images.labels[rows], predict(loaded.model, ready, rows).numpy()


def _look_at(
    loaded: Loaded,
    ready: Prepared,
    rows: npt.NDArray[np.int64],
    outputs: npt.NDArray[np.float32],
    picks: Iterable[Pick],
) -> tuple[Looked, ...]:
    looked = []
    chosen = list(picks)
    with bar("looking at images", len(chosen)) as advance:
        for place, about in chosen:
            row = int(rows[place])
            key, truth = ready.images.keys[row], ready.images.labels[row]
            pixels = np.array(ready.pixels[row])
            looked.append(look_closely(loaded, key, pixels, outputs[place], about, truth))
            advance(1, "")
    return tuple(looked)


def _robustness(loaded: Loaded, ready: Prepared, split: Split, most: int) -> Robustness | None:
    """None where the images that were drawn allow no score."""
    every = ready.images.rows(split)
    rows = np.sort(np.random.default_rng(0).permutation(every)[:most])
    truth = ready.images.labels[rows]
    if unscorable(loaded.task, truth):
        return None
    variants = [
        (kind, place, strength)
        for kind, what in CORRUPTIONS.items()
        for place, strength in enumerate(what.strengths, 1)
    ]
    clean: list[npt.NDArray[np.float32]] = []
    worse: list[list[npt.NDArray[np.float32]]] = [[] for _ in variants]
    with bar("making images worse", len(rows)) as advance:
        for batch in batches(ready, rows, _BATCH):
            pixels = batch.pixels.permute(0, 2, 3, 1).numpy()
            clean.append(_outputs(loaded, pixels))
            for outputs, (kind, _, strength) in zip(worse, variants, strict=True):
                work, numbered = CORRUPTIONS[kind].work, zip(pixels, batch.rows.tolist(), strict=True)
                outputs.append(_outputs(loaded, np.stack([work(one, strength, row) for one, row in numbered])))
            advance(len(pixels), "")
    first, number = np.array(ready.pixels[rows[0]]), int(rows[0])
    return Robustness(
        split=split,
        n=len(rows),
        of=len(every),
        clean=merit(loaded.task, truth, np.concatenate(clean)),
        corrupted=tuple(
            Corrupted(
                kind=kind,
                strength=place,
                setting=CORRUPTIONS[kind].words.format(strength),
                merit=merit(loaded.task, truth, np.concatenate(outputs)),
            )
            for (kind, place, strength), outputs in zip(variants, worse, strict=True)
        ),
        example=tuple(jpeg_uri(CORRUPTIONS[kind].work(first, strength, number)) for kind, _, strength in variants),
        example_clean=jpeg_uri(first),
    )
