"""Many plans, one after the other: resumed where it was cut off, and never stopped by one that fails."""

from __future__ import annotations

import csv
import io
import itertools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scrimp.batches import Files, Luggage, Preparation, Prepared, pack_up, prepare, redivided, unpack
from scrimp.cluster import Cluster, Place, connected
from scrimp.cost import Cost, Stopwatch, warm_up_sensor
from scrimp.errors import NotFound, ScrimpError, SettingError, StorageError
from scrimp.images import Images, ImageSource, find_images
from scrimp.images.fingerprint import fingerprint
from scrimp.images.folds import in_fold
from scrimp.images.kinds import SPLITS
from scrimp.meter import Run, load_run, machine, measure, versions
from scrimp.plan import Plan
from scrimp.progress import bar, be_silent
from scrimp.scores import MEASURES
from scrimp.store import describe, is_uri, write_whole
from scrimp.subset import Distillation, Selection, distill, select
from scrimp.subset.features import FILE
from scrimp.training import Epoch, train

Stop = Callable[[Sequence[Epoch]], str]
"""Given the history of a run after each validation: why it should end there, or ""."""

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
    plans: Sequence[Plan],
    out: str | Path,
    *,
    usd_per_hour: float | None = None,
    apart: bool = False,
    on: str = "here",
) -> list[Run]:
    """Runs every plan, each in its own folder below `out`, and returns the runs in the order of the plans.

    A run that is already there is taken as it is, unless the images, a kept list or a file of features have changed
    since: then it is made again. A file of weights is not looked into. One that was cut off goes on from its last
    epoch; one that failed before is tried again. A run that fails is a result with its reason, and the sweep goes on.
    Ctrl-C ends the sweep: what has been done is returned. Writes `runs.csv`. Cost: the sum of its runs; images are
    packed once per size.
    apart: each run in a process of its own, so that none finds memory or settings that another left behind; where
    memory or the settings of the machine are compared. Takes some seconds more a run, which are on no bill.
    on: "ray" or "ray://HOST:10001" spreads the runs over a Ray cluster, of whose nodes each costs `usd_per_hour`; see
    `scrimp.cluster`.
    Raises `SettingError` for plans of several tasks, whose runs could not be compared.
    """
    tasks = dict.fromkeys(plan.images.task for plan in plans)
    if len(tasks) > 1:
        raise SettingError(f"The plans have {len(tasks)} tasks, {', '.join(tasks)}: sweep each by itself.")
    if apart and on != "here":
        raise SettingError(f"apart=True is for runs here, but on='{on}': processes of a cluster are used again.")
    out = Path(out)
    shelf = Shelf()
    runs = (
        _here(plans, out, shelf, usd_per_hour, apart) if on == "here" else _there(plans, out, shelf, usd_per_hour, on)
    )
    write_whole(out / "runs.csv", to_csv(runs).encode())
    return runs


def _here(plans: Sequence[Plan], out: Path, shelf: Shelf, usd_per_hour: float | None, apart: bool) -> list[Run]:
    runs: list[Run] = []
    with bar("sweep", len(plans)) as advance:
        for plan in plans:
            try:
                run = run_here(plan, out / plan.name, shelf, usd_per_hour, apart=apart)
            except KeyboardInterrupt:  # before there was anything to keep of it
                if not runs:
                    raise
                break
            runs.append(run)
            advance(1, plan.name)
            if run.status == "interrupted":
                break
    return runs


def _there(plans: Sequence[Plan], out: Path, shelf: Shelf, usd_per_hour: float | None, on: str) -> list[Run]:
    """On a cluster, a thread here for each run there; after Ctrl-C the runs that have come to their end."""
    with connected(on, len(plans)) as cluster, bar("sweep", len(plans)) as advance:

        def run(plan: Plan) -> Run:
            made = run_there(plan, out / plan.name, shelf, usd_per_hour, cluster)
            advance(1, plan.name)
            return made

        with ThreadPoolExecutor(cluster.slots) as threads:
            runs = [threads.submit(run, plan) for plan in plans]
            try:
                return [one.result() for one in runs]
            except BaseException as error:
                cluster.stop()
                threads.shutdown(cancel_futures=True)
                ended = [one.result() for one in runs if not one.cancelled() and one.exception() is None]
                if not ended or not isinstance(error, KeyboardInterrupt):
                    raise
                return ended


def run_plan(plan: Plan, out: str | Path, *, usd_per_hour: float | None = None) -> Run:
    """One plan from its images to its measured result, in the folder `out`."""
    return measure(train(ready_for(plan), plan.recipe, out=out), usd_per_hour=usd_per_hour)


def run_plan_together(
    plan: Plan, out: str | Path, *, usd_per_hour: float | None = None, devices: int = 1
) -> Run | None:
    """The same in several processes, each on a GPU of its own where there are any; None for those that only help.

    devices: how many to start here; 1 where torchrun has started them.
    """
    from scrimp.training.together import run_together, team

    if devices > 1:
        ready_for(plan)  # in the cache before all of them want it
        return run_together(devices, _share_plan, plan, out, usd_per_hour)
    trained = train(ready_for(plan), plan.recipe, out=out)
    return measure(trained, usd_per_hour=usd_per_hour) if team().leads else None


def _share_plan(plan: Plan, out: str | Path, usd_per_hour: float | None) -> Run | None:
    be_silent()
    warm_up_sensor()
    return run_plan_together(plan, out, usd_per_hour=usd_per_hour)


def ready_for(plan: Plan) -> Prepared:
    """The images of a plan: found, selected and prepared as it says."""
    return Shelf().ready(plan)


_STAND_INS = 4, 256  # training images: a class, of which some may be unreadable, and altogether


def found_again(run: Run) -> tuple[Prepared, tuple[str, ...]]:
    """The images of a run for looking at val and test, found and prepared once more; and what to note of changes.

    What the run learnt from is not made or chosen again where that is dear:
    then some training images stand in for it.
    """
    plan, shelf = run.plan, Shelf()
    if dear := _dear_to_repeat(plan):
        a_class, altogether = _STAND_INS
        some = min(len(shelf.images(plan).rows("train")), max(a_class * len(run.classes), altogether))
        plan = plan.but(selection=Selection(keep=some, balance="fill"), distillation=None)
    ready = shelf.ready(plan)
    if run.found:
        same = run.found == shelf.found(run.plan)
    elif not dear:
        same = run.fingerprint == ready.images.fingerprint
    elif all(run.image_counts[split] == len(ready.images.rows(split)) for split in ("val", "test")):
        return ready, (
            "What the run learnt from was chosen or made, which is not done again here: whether its images have "
            "changed since was only told by how many val and test have.",
        )
    else:
        same = False
    if same:
        return ready, ()
    return ready, ("These are not exactly the images of the run: what its plan finds has changed since.",)


def _dear_to_repeat(plan: Plan) -> bool:
    """Whether training images were made, or chosen by more than chance; of val and test neither changes anything."""
    return plan.distillation is not None or (plan.selection is not None and plan.selection.method != "random")


_COPY = ".copy"  # marks a `best` that is no link


def keep_best(out: str | Path, run: Run) -> Path:
    """Makes `out/best` lead to the run's folder, and returns it: a link, or a copy where links cannot be made.

    Raises `StorageError` where a folder of another kind is in the way.
    """
    if run.folder is None:
        raise SettingError("A run that was never saved cannot be kept as the best.")
    best, target = Path(out) / "best", Path(run.folder)
    if best.resolve() == target.resolve():
        return best
    if best.is_symlink():
        best.unlink()
    elif (best / _COPY).is_file():
        shutil.rmtree(best, ignore_errors=True)
    elif best.exists():
        raise StorageError(f"'{best}' is in the way of the link to the best run, '{target}': move it elsewhere.")
    try:
        best.symlink_to(os.path.relpath(target, best.parent.resolve()), target_is_directory=True)
    except OSError:
        shutil.copytree(target, best)
        (best / _COPY).touch()
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


Key = tuple[ImageSource, Selection | None, Distillation | None, Preparation]


class Shelf:
    """Images and packs that several runs share, found and made once."""

    def __init__(self, *found: Images) -> None:
        """found: images that need not be found again."""
        self._images = {images.source: images for images in found}
        self._ready: dict[Key, Prepared] = {}

    def key(self, plan: Plan) -> Key:
        """What plans that share their images have in common."""
        return plan.images, plan.selection, plan.distillation, plan.preparation

    def images(self, plan: Plan) -> Images:
        """The images of a plan as they were found, before anything is selected."""
        return self._found(plan.images)

    def found(self, plan: Plan) -> str:
        """Changes with the images of a plan, before any are selected, and with a file of features to select by."""
        images, features = self.images(plan), plan.selection.features if plan.selection else ""
        if not features.endswith(FILE):
            return images.fingerprint
        file = describe(features)
        if file is None:
            raise NotFound(f"No file of features '{features}'.")
        return fingerprint(images.fingerprint, file.stamp, file.size or 0)

    def ready(self, plan: Plan) -> Prepared:
        """The images of a plan, found, selected and prepared as it says; all folds are cut from one pack."""
        key = self.key(plan)
        if key not in self._ready:
            images = self._found(plan.images)
            if plan.images.folds and plan.selection is None and plan.distillation is None:
                whole = plan.but(images=plan.images.but(folds=None, fold=0))
                self._ready[key] = redivided(self.ready(whole), images)
            else:
                if plan.selection:
                    images = select(images, **plan.selection.model_dump())
                if plan.distillation:
                    images = distilled = distill(images, **plan.distillation.model_dump())
                    if distilled.status == "interrupted":
                        raise KeyboardInterrupt
                self._ready[key] = prepare(images, **plan.preparation.model_dump())
        return self._ready[key]

    def _found(self, source: ImageSource) -> Images:
        if source not in self._images:
            if source.folds:
                whole = self._found(source.but(folds=None, fold=0))
                self._images[source] = in_fold(whole, source.folds, source.fold)
            else:
                self._images[source] = find_images(source)
        return self._images[source]


def finished_run(folder: Path, plan: Plan, shelf: Shelf) -> Run | None:
    """The run in the folder, if it was made by this very plan of what it finds now, and came to its end.

    What a run of another maker than a sweep was made of is not known: such a one is taken as it is.
    """
    if not (folder / "result.json").is_file():
        return None
    run = load_run(folder)
    if run.plan != plan or run.status not in _DONE:
        return None
    try:
        same = not run.found or run.found == shelf.found(plan)
    except (NotFound, StorageError):
        same = True  # what is out of reach has not been seen to change
    return run if same else None


def run_here(
    plan: Plan,
    folder: Path,
    shelf: Shelf,
    usd_per_hour: float | None,
    *,
    apart: bool = False,
    stop: Stop | None = None,
    test: bool = True,
) -> Run:
    """A plan's run in its folder: the one that came to its end there, or made now; failed, with its reason, if it does.

    apart: in a process of its own. stop: as for `train`. test: as for `measure`.
    """
    if run := finished_run(folder, plan, shelf):
        return run
    images = shelf.images(plan)  # bad images concern every run: let that end the sweep
    with Stopwatch() as watch:
        try:
            found, ready = shelf.found(plan), shelf.ready(plan)
            if apart:
                run = _run_apart(plan, folder, usd_per_hour)  # finds the images in the cache
            else:
                trained = train(ready, plan.recipe, out=folder, stop=stop)
                run = measure(trained, usd_per_hour=usd_per_hour, test=test)
            return run.model_copy(update={"found": found}).save(folder)
        except (ScrimpError, RuntimeError, MemoryError) as error:  # RuntimeError: how torch tells of no memory
            reason = str(error) or type(error).__name__
    return failed_run(plan, images, reason, watch.cost.priced(usd_per_hour)).save(folder)


def run_there(
    plan: Plan,
    folder: Path,
    shelf: Shelf,
    usd_per_hour: float | None,
    cluster: Cluster,
    *,
    stop: Stop | None = None,
    test: bool = True,
) -> Run:
    """As `run_here`, on some node of a cluster; the files come home to the folder.

    Images at a URI are read by each node for itself; others are packed here, and each node is sent the pack once.
    """
    with cluster.lock:
        if run := finished_run(folder, plan, shelf):
            return run
        images = shelf.images(plan)  # bad images concern every run: let that end the sweep
    with Stopwatch() as watch:
        try:
            found = shelf.found(plan)
            luggage, files = _sent(plan, shelf, cluster)
            cluster.run(_run_on_node, (plan, luggage, files, usd_per_hour, test), folder, stop=stop)
            return load_run(folder).model_copy(update={"found": found}).save(folder)
        except ScrimpError as error:
            reason = str(error)
    return failed_run(plan, images, reason, watch.cost.priced(usd_per_hour)).save(folder)


def _sent(plan: Plan, shelf: Shelf, cluster: Cluster) -> tuple[Any, Any]:
    """Where a node finds the pack of a plan; nowhere for images at a URI."""
    if is_uri(plan.images.source):
        return None, None
    with cluster.lock:
        luggage, files = pack_up(shelf.ready(plan))
        return cluster.send(shelf.key(plan), luggage), cluster.send(luggage.pack, files)


def _run_on_node(
    plan: Plan,
    luggage: Luggage | None,
    files: Files | None,
    usd_per_hour: float | None,
    test: bool,
    *,
    folder: Path,
    stop: Stop,
    place: Place,
) -> None:
    ready = unpack(luggage, files) if luggage and files else _shelf_of_node().ready(plan)
    price = None if usd_per_hour is None else usd_per_hour * place.share
    run = measure(train(ready, plan.recipe, out=folder, stop=stop), usd_per_hour=price, test=test)
    costs = {stage: cost if stage in run.shared else cost.of_share(place.share) for stage, cost in run.costs.items()}
    run.model_copy(update={"notes": (*run.notes, place.told), "costs": costs}).save(folder)


@cache
def _shelf_of_node() -> Shelf:
    """One for all runs that a process of the cluster is given."""
    return Shelf()


def _run_apart(plan: Plan, folder: Path, usd_per_hour: float | None) -> Run:
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


def failed_run(plan: Plan, images: Images, reason: str, cost: Cost) -> Run:
    """A run without a model: its reason, and what was spent before it failed."""
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
