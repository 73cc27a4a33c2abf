"""What a trained model is worth and what it took: accuracy, seconds, watt-hours, dollars, megabytes, milliseconds."""

from __future__ import annotations

import io
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt
import psutil
from PIL import Image
from pydantic import BaseModel, ConfigDict

from scrimp.batches import Prepared
from scrimp.cores import cores
from scrimp.cost import FREE, Cost, Stopwatch, shared_sensor
from scrimp.errors import ImageError, NotFound
from scrimp.images import Images, LeftOut
from scrimp.images.kinds import SPLITS, Split, Task
from scrimp.plan import Plan
from scrimp.scores import AnyScores, score, unscorable
from scrimp.settings import to_toml
from scrimp.store import write_whole
from scrimp.subset import Distilled, Selected
from scrimp.training import Epoch

if TYPE_CHECKING:
    from scrimp.models import Classifier
    from scrimp.training import Trained

Status = Literal["finished", "stopped early", "out of time", "interrupted", "failed"]

SHEET_ROWS = 20
"""Classes shown on a contact sheet of examples, the first ones in their order."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Size(_Record):
    """parameters: numbers learnt; mb: bytes of the weights / 1e6; macs: multiply-adds for one image."""

    parameters: int
    mb: float
    macs: int | None


class Speed(_Record):
    """ms_per_image: median latency at batch 1; images_per_second: at batch 32; device: where it was measured."""

    ms_per_image: float
    images_per_second: float
    device: str


class Decision(_Record):
    """What a budgeted search decided at some second, and by what: `evidence` holds the figures, `why` says it all."""

    stage: str
    candidate: str
    verdict: str
    why: str
    evidence: dict[str, float | str]
    at_s: float


class Run(_Record):
    """Everything known about one trained model: what was asked, what came out, what it cost, where it ran.

    costs: a bill per stage ("read and select", "prepare", "train", "measure"), `cost` their sum.
    start: where the first weights came from.
    shared: the stages whose bill this run shares with others (a pack made once, used many times).
    decisions: how it was found, where a budgeted search found it.
    found: in a sweep, changes with the images that its plan found, before any were selected or distilled; else empty.
    val chooses; test only reports. notes: what the user should know (fallbacks, guesses, missing sensors).
    folder: where it lies on disk, with its weights; not written into the file itself.
    """

    plan: Plan
    status: Status
    reason: str = ""
    start: str = ""
    classes: tuple[str, ...]
    image_counts: dict[str, int]
    fingerprint: str
    found: str = ""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None
    val: AnyScores | None = None
    test: AnyScores | None = None
    size: Size | None = None
    speed: Speed | None = None
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None
    costs: dict[str, Cost]
    shared: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    machine: dict[str, str]
    versions: dict[str, str]
    date: str
    folder: str | None = None

    @property
    def task(self) -> Task:
        """What is said about an image, which decides by what runs are compared (see `scrimp.scores`)."""
        return self.plan.images.task

    @property
    def cost(self) -> Cost:
        """The whole bill."""
        return sum(self.costs.values(), FREE)

    @property
    def examples_jpg(self) -> bytes | None:
        """A JPEG contact sheet of training images, if there is one.

        One row for each of the first `SHEET_ROWS` classes; without classes, from the smallest target to the largest.
        """
        path = Path(self.folder) / "examples.jpg" if self.folder else None
        return path.read_bytes() if path and path.is_file() else None

    def save(self, folder: Path) -> Self:
        """Writes `result.json` (whole or not at all) and returns the run as it now lies in `folder`."""
        text = self.model_copy(update={"folder": None}).model_dump_json(indent=1)
        write_whole(folder / "result.json", text.encode())
        return self.model_copy(update={"folder": str(folder.resolve())})


def load_run(folder: str | Path) -> Run:
    """A run from its folder. Raises `NotFound` without a result, `ImageError` when it cannot be read."""
    path = Path(folder) / "result.json"
    try:
        run = Run.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"No run in '{folder}': there is no result.json. Run folders lie below 'runs/'.") from None
    except ValueError as error:
        raise ImageError(f"'{path}' is not a result this version can read: {error}") from None
    return run.model_copy(update={"folder": str(Path(folder).resolve())})


def load_runs(*folders: str | Path) -> list[Run]:
    """Every run in or below the folders, each once, in the order of their paths; none is an empty list."""
    found = {path.parent.resolve() for folder in folders for path in Path(folder).rglob("result.json")}
    runs = [load_run(folder) for folder in sorted(found)]
    return list({(run.plan.name, run.date): run for run in runs}.values())  # "best" may be a copy of one


# ---------------------------------------------------------------- measuring


def measure(trained: Trained, *, usd_per_hour: float | None = None, test: bool = True) -> Run:
    """Scores a trained model on val and test, times it, weighs it, adds up the bill and saves the run.

    usd_per_hour: what the machine costs; without it dollars stay unknown. test: False leaves the test split unread,
    for a run that may yet be dropped. Writes result.json, plan.toml and examples.jpg into the run's folder.
    Cost: one forward pass per val and test image, about two seconds of timing.
    """
    ready, model = trained.ready, trained.model
    with Stopwatch(shared_sensor()) as watch:
        val = _scores(model, ready, "val")
        tested = _scores(model, ready, "test") if test else None
        size, speed = _size(model, ready.image_px), _speed(model, ready)
    images = ready.images
    costs = {
        "read and select": images.cost,
        "prepare": ready.cost,
        "train": trained.cost,
        "measure": watch.cost,
    }
    run = Run(
        plan=_plan_of(trained),
        status=trained.status,
        reason=trained.reason,
        start=model.start,
        classes=images.classes,
        image_counts={split: len(images.rows(split)) for split in SPLITS},
        fingerprint=images.fingerprint,
        left_out=images.left_out,
        notes=images.notes + trained.notes + _oddities(ready) + (_not_scored(images) if test else ()),
        history=trained.history,
        best_epoch=trained.best_epoch,
        val=val,
        test=tested,
        size=size,
        speed=speed,
        peak_memory_mb=trained.peak_memory_mb,
        peak_gpu_memory_mb=trained.peak_gpu_memory_mb,
        costs={stage: cost.priced(usd_per_hour) for stage, cost in costs.items()},
        shared=("read and select", "prepare"),
        machine=machine(),
        versions=versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_whole(trained.folder / "plan.toml", to_toml(run.plan).encode())
    write_whole(trained.folder / "examples.jpg", _contact_sheet(ready))
    return run.save(trained.folder)


def look_at_test(run: Run, ready: Prepared, *, usd_per_hour: float | None = None) -> Run:
    """The same run scored on test too, from the weights in its folder; one that has looked already is left as it is.

    ready: the images of its plan. Cost: one forward pass per test image, added to what measuring took.
    """
    if run.test is not None or run.folder is None:
        return run
    from scrimp.models.saved import load_model
    from scrimp.training.hardware import best_device

    with Stopwatch(shared_sensor()) as watch:
        model = load_model(run.folder).model.to(best_device())
        tested = _scores(model, ready, "test")
    measuring = run.costs["measure"] + watch.cost.priced(usd_per_hour)
    notes = run.notes + _not_scored(ready.images)
    seen = run.model_copy(update={"test": tested, "costs": run.costs | {"measure": measuring}, "notes": notes})
    return seen.save(Path(run.folder))


def _plan_of(trained: Trained) -> Plan:
    images = trained.ready.images
    return Plan(
        images=images.source,
        selection=images.selection if isinstance(images, Selected) else None,
        distillation=images.distillation if isinstance(images, Distilled) else None,
        preparation=trained.ready.preparation,
        recipe=trained.recipe,
    )


def _scores(model: Classifier, ready: Prepared, split: Split) -> AnyScores | None:
    """The task's scores on a split; None where its labels allow none."""
    from scrimp.training.evaluate import predict

    images = ready.images
    rows = images.rows(split)
    if unscorable(images.task, images.labels[rows]):
        return None
    return score(images.task, images.labels[rows], predict(model, ready, rows).numpy(), len(images.classes))


def _not_scored(images: Images) -> tuple[str, ...]:
    """Why there is no score on test, where there are images to score."""
    truth = images.labels[images.rows("test")]
    why = unscorable(images.task, truth)
    return (f"The {len(truth):,} test images allow no score: {why}.",) if why and len(truth) else ()


def _size(model: Classifier, image_px: int) -> Size:
    from scrimp.models import macs, size_mb

    parameters = sum(p.numel() for p in model.parameters())
    return Size(parameters=parameters, mb=size_mb(model), macs=macs(model, image_px))


def _speed(model: Classifier, ready: Prepared) -> Speed:
    """Median of repeated forward passes on the device it was trained on, after a warm-up."""
    import torch

    device = next(model.parameters()).device
    first = np.arange(32) % len(ready.images)
    pixels = torch.from_numpy(ready.pixels[first]).permute(0, 3, 1, 2).to(device)
    model.eval()
    with torch.inference_mode():
        many = _median_seconds(lambda: model(pixels).cpu(), times=5, at_most_s=0.3)
    return Speed(ms_per_image=latency_ms(model, ready), images_per_second=len(pixels) / many, device=str(device))


def latency_ms(model: Classifier, ready: Prepared) -> float:
    """Median milliseconds of one image by itself, on the device that the model is on. Cost: under half a second."""
    import torch

    pixels = torch.from_numpy(ready.pixels[np.arange(1)]).permute(0, 3, 1, 2).to(next(model.parameters()).device)
    model.eval()
    with torch.inference_mode():
        return 1000 * _median_seconds(lambda: model(pixels).cpu(), times=20, at_most_s=0.3)


def _median_seconds(work: Callable[[], object], *, times: int, at_most_s: float) -> float:
    work()
    seconds: list[float] = []
    while len(seconds) < times and sum(seconds) < at_most_s:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _oddities(ready: Prepared) -> tuple[str, ...]:
    told = [f"{count:,} images: {what}" for what, count in sorted(ready.oddities.items())]
    if slow := len(ready.read_by_pillow):
        told.append(f"{slow:,} images are no plain JPEGs: Pillow read them, slowly, in every epoch.")
    return tuple(told)


def _contact_sheet(ready: Prepared, *, columns: int = 6, px: int = 96) -> bytes:
    """JPEG of training images: rows of the same class, or without classes from the smallest target to the largest."""
    lines = _examples(ready.images, columns)
    sheet = Image.new("RGB", (columns * px, len(lines) * px), (255, 255, 255))
    for line, rows in enumerate(lines):
        for column, row in enumerate(rows):
            tile = Image.fromarray(ready.pixels[row]).resize((px, px))
            sheet.paste(tile, (column * px, line * px))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _examples(images: Images, columns: int) -> list[npt.NDArray[np.int64]]:
    """Rows of training images for each line of a contact sheet."""
    train = images.rows("train")
    labels = images.labels[train]
    if images.task == "regress":
        ascending = train[np.argsort(labels, kind="stable")]
        spread = np.linspace(0, len(train) - 1, min(4 * columns, len(train))).astype(np.int64)
        return [ascending[spread[i : i + columns]] for i in range(0, len(spread), columns)]
    shown = range(min(len(images.classes), SHEET_ROWS))
    return [train[labels[:, c] == 1 if labels.ndim == 2 else labels == c][:columns] for c in shown]


def machine() -> dict[str, str]:
    """What this ran on: processor, cores, memory, GPU, system."""
    import torch

    facts = {
        "processor": _processor(),
        "cores": f"{cores()}",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": platform.platform(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return facts


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    names = ("scrimp", "torch", "torchvision", "timm", "numpy", "pillow", "codecarbon")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
