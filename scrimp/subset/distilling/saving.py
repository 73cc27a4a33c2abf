"""What was distilled, as a folder: images that open anywhere, the exact tensors, and how it was made."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from scrimp import store
from scrimp.errors import ImageError, NotFound, SettingError
from scrimp.subset.distilling.making import Lesson, write_grid
from scrimp.subset.distilling.whitening import Space

if TYPE_CHECKING:
    from scrimp.images import ImageSource
    from scrimp.settings import Settings
    from scrimp.subset.distillation import Distillation, Distilled

TENSORS, FACTS = "distilled.safetensors", "distilled.json"


def save(distilled: Distilled, folder: Path) -> None:
    """Writes the folder; its json says that it is whole at the end. Raises as `check_folder`."""
    check_folder(folder, distilled.distillation, distilled.source)
    train = folder / "train"
    rows = distilled.rows("train")
    pixels = np.stack([np.asarray(distilled.items[row]) for row in rows])
    labels = distilled.labels[rows].tolist()
    numbers = dict.fromkeys(range(len(distilled.classes)), 0)
    png_bytes = 0
    _write_facts(distilled, folder, whole=False, png_bytes=None)
    for image, label in zip(pixels, labels, strict=True):
        content = png(image)
        name = distilled.classes[label].replace("/", "_").replace("\\", "_")
        store.write_whole(train / name / f"{numbers[label]:04d}.png", content)
        numbers[label] += 1
        png_bytes += len(content)
    write_grid(pixels, labels, folder / "grid.png")
    if distilled.lesson is not None:
        store.write_whole(folder / TENSORS, safetensors.torch.save(_tensors(distilled.lesson)))
    _write_facts(distilled, folder, whole=True, png_bytes=png_bytes)


def check_folder(folder: Path, distillation: Distillation, source: ImageSource) -> None:
    """Raises `SettingError` where a folder holds training images that another distillation made, or other ones."""
    train = folder / "train"
    if not (train.is_dir() and any(train.iterdir())):
        return
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        ours = [facts["distillation"], facts["source"]] == [_plain(distillation), _plain(source)]
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise SettingError(
            f"'{train}' holds images already, not of this distillation: give another folder, or empty it."
        )


def _plain(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude={"data_dir"})


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """An image (h, w, 3) as a PNG, as small as Pillow makes it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def load_lesson(folder: str | Path) -> Lesson:
    """The exact tensors of a folder that `Distilled.save` wrote.

    Raises `NotFound` where there are none, `ImageError` where they are not what was written.
    """
    path = Path(folder) / TENSORS
    if not path.is_file():
        raise NotFound(f"No '{path}': only methods that learn write one.")
    try:
        held = safetensors.torch.load(path.read_bytes())
        space = Space(held["mean"], held["deviation"], held.get("forth"), held.get("back"))
        return Lesson(
            images=held["images"],
            labels=held["labels"],
            classes=held["classes"],
            soft=bool(held["soft"]),
            formation=int(held["formation"]),
            space=space,
        )
    except (safetensors.SafetensorError, KeyError) as error:
        raise ImageError(f"'{path}' is not what 'scrimp distill' writes: {error}.") from None


def _tensors(lesson: Lesson) -> dict[str, Tensor]:
    found = {"images": lesson.images, "labels": lesson.labels, "classes": lesson.classes}
    found |= {"soft": torch.tensor(lesson.soft), "formation": torch.tensor(lesson.formation)}
    found |= {name: value for name, value in vars(lesson.space).items() if value is not None}
    return {name: value.contiguous() for name, value in found.items()}


def _write_facts(distilled: Distilled, folder: Path, *, whole: bool, png_bytes: int | None) -> None:
    facts: dict[str, Any] = {
        "whole": whole,
        "distillation": _plain(distilled.distillation),
        "source": _plain(distilled.source),
        "classes": list(distilled.classes),
        "fingerprint": distilled.fingerprint,
        "images": len(distilled.rows("train")),
        "png_bytes": png_bytes,
        "exact_bytes": distilled.lesson.bytes if distilled.lesson else None,
        "steps": distilled.steps,
        "status": distilled.status,
        "cost": asdict(distilled.making),
        "notes": list(distilled.notes),
    }
    store.write_whole(folder / FACTS, json.dumps(facts, indent=1, ensure_ascii=False).encode())
