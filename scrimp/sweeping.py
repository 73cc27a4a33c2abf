"""Many plans, one after the other: resumed where it was cut off, and never stopped by one that fails."""

from __future__ import annotations

import csv
import io
import itertools
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scrimp.batches import Prepared, prepare
from scrimp.cost import Cost, Stopwatch, warm_up_sensor
from scrimp.errors import ScrimpError, SettingError
from scrimp.images import Images, find_images
from scrimp.images.kinds import SPLITS
from scrimp.meter import Run, load_run, machine, measure, versions
from scrimp.plan import Plan
from scrimp.progress import bar, be_silent
from scrimp.scores import MEASURES
from scrimp.store import write_whole
from scrimp.subset import select
from scrimp.training import train

_DONE = {"finished", "stopped early", "out of time"}


def vary(base: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> list[Plan]:
    """Every combination of the axes, each laid over the base settings; seeds turn fastest.

    base: the tables of a plan, which may leave out what the axes set. axes: dotted names to the values they take, for
    example {"recipe.model": ["vgg8", "ultralight"], "recipe.seed": [0, 1, 2]}.
    """
    names = sorted(axes, key=lambda name: name == "recipe.seed")
    for name, values in axes.items():
        if not values:
            raise SettingError(f"'{name}' has no values to take.")
    plans = []
    for values in itertools.product(*(axes[name] for name in names)):
        tables: dict[str, Any] = {table: dict(settings) for table, settings in base.items()}
        for name, value in zip(names, values, strict=True):
            table, _, setting = name.partition(".")
            tables.setdefault(table, {})[setting] = value
        plans.append(Plan(**tables))
    return plans


def sweep(
    plans: Sequence[Plan], out: str | Path, *, usd_per_hour: float | None = None, apart: bool = False
) -> list[Run]:
    """Runs every plan, each in its own folder below `out`, and returns the runs in the order of the plans.

    A run that is already there is taken as it is; one that was cut off goes on from its last epoch; one that failed
    before is tried again. A run that fails is a result with its reason, and the sweep goes on. Ctrl-C ends the sweep:
    what has been done is returned. Writes `runs.csv`. Cost: the sum of its runs; images are packed once per size.
    apart: each run in a process of its own, so that none finds memory or settings that another left behind; where
    memory or the settings of the machine are compared. Takes some seconds more a run, which are on no bill.
    Raises `SettingError` for plans of several tasks, whose runs could not be compared.
    """
    tasks = dict.fromkeys(plan.images.task for plan in plans)
    if len(tasks) > 1:
        raise SettingError(f"The plans have {len(tasks)} tasks, {', '.join(tasks)}: sweep each by itself.")
    out = Path(out)
    shelf = _Shelf()
    runs: list[Run] = []
    with bar("sweep", len(plans)) as advance:
        for plan in plans:
            run = _finished(out / plan.name, plan) or _run(plan, out / plan.name, shelf, usd_per_hour, apart)
            runs.append(run)
            advance(1, plan.name)
            if run.status == "interrupted":
                break
    write_whole(out / "runs.csv", to_csv(runs).encode())
    return runs


def run_plan(plan: Plan, out: str | Path, *, usd_per_hour: float | None = None) -> Run:
    """One plan from its images to its measured result, in the folder `out`."""
    return _train_and_measure(ready_for(plan), plan, Path(out), usd_per_hour)


def ready_for(plan: Plan) -> Prepared:
    """The images of a plan: found, selected and prepared as it says."""
    return _Shelf().ready(plan)


def keep_best(out: str | Path, run: Run) -> Path:
    """Makes `out/best` lead to the run's folder, and returns it: a link, or a copy where links cannot be made."""
    if run.folder is None:
        raise SettingError("A run that was never saved cannot be kept as the best.")
    best, target = Path(out) / "best", Path(run.folder)
    if best.is_symlink():
        best.unlink()
    shutil.rmtree(best, ignore_errors=True)
    try:
        best.symlink_to(os.path.relpath(target, best.parent.resolve()), target_is_directory=True)
    except OSError:
        shutil.copytree(target, best)
    return best


def to_csv(runs: Sequence[Run]) -> str:
    """One line a run: what it was, how it ended, its scores and its costs; unknown is left empty.

    The scores' columns are named for the measures of the task, which all runs share: "val_top1", "test_mae".
    """
    measure = MEASURES[runs[0].task if runs else "classify"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["name", "model", "image_px", "seed", "status", "reason", f"val_{measure.key}", f"test_{measure.key}"]
    header += [*(f"test_{field}" for field in measure.others), "epochs"]
    writer.writerow([*header, "seconds", "cpu_seconds", "wh", "usd", "mb", "ms_per_image"])
    for run in runs:
        recipe, test = run.plan.recipe, run.test
        row = [run.plan.name, recipe.model, run.plan.preparation.image_px, recipe.seed, run.status, run.reason]
        row += [run.val and run.val.merit, test and test.merit]
        row += [*(getattr(test, field, None) for field in measure.others), run.history[-1].epoch if run.history else 0]
        row += [run.cost.seconds, run.cost.cpu_seconds, run.cost.wh, run.cost.usd]
        row += [run.size and run.size.mb, run.speed and run.speed.ms_per_image]
        writer.writerow(row)
    return text.getvalue()


class _Shelf:
    """Images and packs that several runs share, found and made once."""

    def __init__(self) -> None:
        self._images: dict[str, Images] = {}
        self._ready: dict[str, Prepared] = {}

    def ready(self, plan: Plan) -> Prepared:
        source = plan.images.model_dump_json()
        if source not in self._images:
            self._images[source] = find_images(plan.images)
        images = self._images[source]
        name = f"{source} {plan.selection} {plan.preparation}"
        if name not in self._ready:
            kept = select(images, **plan.selection.model_dump()) if plan.selection else images
            self._ready[name] = prepare(kept, **plan.preparation.model_dump())
        return self._ready[name]


def _finished(folder: Path, plan: Plan) -> Run | None:
    """The run in the folder, if it was made by this very plan and came to its end."""
    if not (folder / "result.json").is_file():
        return None
    run = load_run(folder)
    return run if run.plan == plan and run.status in _DONE else None


def _run(plan: Plan, folder: Path, shelf: _Shelf, usd_per_hour: float | None, apart: bool) -> Run:
    with Stopwatch() as watch:
        ready = shelf.ready(plan)  # bad images concern every run: let that end the sweep
        try:
            return (_run_apart if apart else _train_and_measure)(ready, plan, folder, usd_per_hour)
        except (ScrimpError, RuntimeError, MemoryError) as error:  # RuntimeError: how torch tells of no memory
            reason = str(error) or type(error).__name__
    return failed_run(plan, ready, reason, watch.cost.priced(usd_per_hour)).save(folder)


def _run_apart(ready: Prepared, plan: Plan, folder: Path, usd_per_hour: float | None) -> Run:
    """In a new process, which finds the images in the cache, for they are `ready` here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        run = process.submit(_run_alone, plan, folder, usd_per_hour)
        try:
            return run.result()
        except KeyboardInterrupt:  # which reached the process too: it ends its run
            return run.result()


def _run_alone(plan: Plan, folder: Path, usd_per_hour: float | None) -> Run:
    be_silent()
    warm_up_sensor()
    try:
        return run_plan(plan, folder, usd_per_hour=usd_per_hour)
    except ScrimpError as error:
        raise ScrimpError(str(error)) from None  # of which some cannot be sent from one process to another


def _train_and_measure(ready: Prepared, plan: Plan, folder: Path, usd_per_hour: float | None) -> Run:
    return measure(train(ready, plan.recipe, out=folder), usd_per_hour=usd_per_hour)


def failed_run(plan: Plan, ready: Prepared, reason: str, cost: Cost) -> Run:
    """A run without a model: its reason, and what was spent before it failed."""
    images = ready.images
    return Run(
        plan=plan,
        status="failed",
        reason=reason,
        classes=images.classes,
        image_counts={split: len(images.rows(split)) for split in SPLITS},
        fingerprint=images.fingerprint,
        left_out=images.left_out,
        costs={"train": cost},
        machine=machine(),
        versions=versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
