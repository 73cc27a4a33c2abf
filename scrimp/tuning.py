"""The best settings of a recipe: Optuna proposes them, val decides, and what lags behind is stopped early."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from scrimp.batches import Preparation
from scrimp.cluster import connected
from scrimp.errors import MissingExtra, SettingError, StorageError, UnknownName
from scrimp.images import Images
from scrimp.meter import Run, load_run, look_at_test
from scrimp.models import MODELS
from scrimp.plan import Plan
from scrimp.progress import bar
from scrimp.scores import MEASURES
from scrimp.settings import to_toml
from scrimp.store import write_whole
from scrimp.store.remote import reason
from scrimp.subset import Distilled, Selected
from scrimp.sweeping import Shelf, Stop, run_here, run_there, to_csv
from scrimp.tradeoff import Chosen, compare, whole_bill
from scrimp.training import Epoch, Recipe

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

_KEEP_ONE_IN = 3  # of the trials that reach a rung go on to the next, which lies this much further
_RUNGS_FROM = 9  # part of the epochs at which the first rung lies, but not before the first epoch
_STARTS = 3  # of a trial that fails, or whose process dies before it came any further, until it is given up
_FAILURES = 5  # in a row, for the same reason, after which it is no fault of the settings
_PROPOSALS = 100  # that the recipe refuses, one after the other, before the search is given up
_PRUNED = "pruned"  # how the reason of a run begins that was stopped for lagging behind


def tune(
    images: Images,
    recipe: Recipe,
    *,
    preparation: Preparation | None = None,
    trials: int = 50,
    folds: int | None = None,
    search: Sequence[str] = (),
    out: str | Path = "runs/tune",
    usd_per_hour: float | None = None,
    on: str = "here",
) -> Chosen:
    """Searches the settings of a recipe that are best on val; the best trial alone looks at test, once, at the end.

    recipe: the first trial, and what all others have in common. trials: how many in all, those of earlier starts
    counted. folds: judge each by cross-validation, train and val together cut into so many parts, instead of by val
    alone. on: "ray" or "ray://HOST:10001" runs as many trials at a time as a Ray cluster takes, each of whose nodes
    costs `usd_per_hour`. search: which settings to search, names of `SPACE`; by default all that suit the recipe.

    Settings are proposed by TPE (Bergstra et al. 2011); after each validation a trial that is not in the best third of
    those that came as far is stopped (ASHA, Li et al., arXiv 1810.05934). Everything lies in `out`: a folder a run,
    `study.db`, `trials.csv`, `runs.csv` of the trials that came to their end, and the best as `plan.toml`. The same
    call goes on where an earlier one was cut off; several processes at once share the work, and the last one to end
    looks at test. Ctrl-C returns what there is.

    Raises `MissingExtra` without Optuna, `SettingError` for images that are distilled, where `out` holds the study of
    something else, or where no trial came to its end, `StorageError` where it cannot be written. Cost: that of its
    runs; about a third of them go beyond their first ninth.
    """
    if isinstance(images, Distilled):
        raise SettingError(
            "A search learns from no images that are distilled on the way: save them, and tune on what find_images "
            "finds in that folder."
        )
    out = Path(out)
    base = Plan(
        images=images.source if folds is None else images.source.but(folds=folds, fold=0),
        selection=images.selection if isinstance(images, Selected) else None,
        preparation=preparation or Preparation(),
        recipe=recipe,
    )
    names = _searched(recipe, search)
    study = _open_study(out, base, names, images)
    shelf = Shelf() if isinstance(images, Selected) else Shelf(images)
    failures: list[str] = []  # why each trial of this start failed, "" for those that did not
    with _recorded(out), _alive(out) as me, bar(f"tune {recipe.model}", trials) as advance:
        advance(min(trials, _tried(study)), "")

        def work(run: Callable[[Plan, Stop], Run]) -> bool:
            """Trial after trial, until there are enough; True where it was interrupted."""
            while not _all_fail(failures) and (trial := _next_trial(study, out, me, trials, base, names, images)):
                try:
                    failures.append(_run_trial(study, trial, base, run))
                except KeyboardInterrupt:
                    return True
                advance(1, f"best {MEASURES[images.task].text(study.best_value)}" if _complete(study) else "")
            return False

        if on == "here":
            stopped = work(
                lambda plan, stop: run_here(plan, out / plan.name, shelf, usd_per_hour, stop=stop, test=False)
            )
        else:
            stopped = _on_cluster(on, trials, work, out, shelf, usd_per_hour)
    if _all_fail(failures) and _tried(study) < trials:
        raise SettingError(
            f"{_FAILURES} trials in a row failed for one reason: {failures[-1].rstrip('.')}. Put that right and start "
            f"again: they are tried again, and what came to its end is kept in '{out}'."
        )
    return _conclude(study, base, names, shelf, out, usd_per_hour, stopped=stopped)


def _all_fail(failures: Sequence[str]) -> bool:
    """Whether the last trials failed for one reason, such as a hub that does not answer or a GPU that is held."""
    last = failures[-_FAILURES:]
    return len(last) == _FAILURES and len(set(last)) == 1 and last[0] != ""


def _on_cluster(
    on: str,
    trials: int,
    work: Callable[[Callable[[Plan, Stop], Run]], bool],
    out: Path,
    shelf: Shelf,
    usd_per_hour: float | None,
) -> bool:
    """Works in as many threads as the cluster takes runs; True where it was interrupted."""
    with connected(on, trials) as cluster, ThreadPoolExecutor(cluster.slots) as threads:

        def run(plan: Plan, stop: Stop) -> Run:
            return run_there(plan, out / plan.name, shelf, usd_per_hour, cluster, stop=stop, test=False)

        working = [threads.submit(work, run) for _ in range(cluster.slots)]
        try:
            return any(one.result() for one in working)
        except BaseException as error:
            cluster.stop()
            if not isinstance(error, KeyboardInterrupt):
                raise
            return True


# ---------------------------------------------------------------- what is searched

Suggest = Callable[["Trial", Recipe, Images], Any]


def _lr(trial: Trial, recipe: Recipe, images: Images) -> float:
    assert recipe.lr != "auto"
    asked = trial.suggest_float("lr", recipe.lr / 10, min(recipe.lr * 10, _HIGHEST_LR), log=True)
    return _rounded(asked, recipe.lr)


def _batch_size(trial: Trial, recipe: Recipe, images: Images) -> Any:
    most = len(images.rows("train")) // 4
    return _one_of(trial, "batch_size", recipe, [size for size in (16, 32, 64, 128) if size <= most])


def _augment(trial: Trial, recipe: Recipe, images: Images) -> Any:
    mirror = ",mirror" if images.mirror_ok else ""
    return _one_of(trial, "augment", recipe, ["none", "basic", f"crop{mirror}", f"shift{mirror},trivial"])


def _weight_decay(trial: Trial, recipe: Recipe, images: Images) -> float:
    own = recipe.weight_decay
    asked = trial.suggest_float("weight_decay", min(_DECAYS[0], own), max(_DECAYS[1], own), log=True)
    return _rounded(asked, own)


def _dropout(trial: Trial, recipe: Recipe, images: Images) -> Any:
    return _one_of(trial, "dropout", recipe, [0.0, 0.1, 0.2, 0.3, 0.5])


def _width(trial: Trial, recipe: Recipe, images: Images) -> Any:
    return _one_of(trial, "width", recipe, [0.5, 0.75, 1.0, 1.5, 2.0])


def _depth(trial: Trial, recipe: Recipe, images: Images) -> int:
    return trial.suggest_int("depth", 1, max(3, recipe.depth))


def _batch_norm(trial: Trial, recipe: Recipe, images: Images) -> Any:
    return _one_of(trial, "batch_norm", recipe, [True, False])


SPACE: Mapping[str, Suggest] = {
    "lr": _lr,
    "batch_size": _batch_size,
    "augment": _augment,
    "weight_decay": _weight_decay,
    "dropout": _dropout,
    "width": _width,
    "depth": _depth,
    "batch_norm": _batch_norm,
}
"""What can be searched, by the name it has in a recipe: each asks a trial for a value."""

_HIGHEST_LR = 100.0  # that a recipe takes
_DECAYS = (1e-4, 0.5)
_OF_SHAPES = ("width", "depth", "batch_norm")


def _one_of(trial: Trial, name: str, recipe: Recipe, values: Sequence[Any]) -> Any:
    """One of the values, or the recipe's own; as a choice without order."""
    own = getattr(recipe, name)
    return trial.suggest_categorical(name, [*values, *([] if own in values else [own])])


def _rounded(value: float, own: float) -> float:
    """Three digits are all that a learning rate needs, and what people can read; the recipe's own stays as it is."""
    return own if value == own else float(f"{value:.3g}")


def _searched(recipe: Recipe, search: Sequence[str]) -> list[str]:
    """The names to search; those that do not suit the recipe are left out, or refused where they were asked for."""
    card = MODELS.get(recipe.model)
    unfit = {} if card and card.shapes else dict.fromkeys(_OF_SHAPES, f"the shape of {recipe.model} is fixed")
    if recipe.lr == "auto":
        unfit["lr"] = "lr='auto' finds one by itself"
    if not recipe.weight_decay:
        unfit["weight_decay"] = "it is searched by factors, and the recipe has weight_decay=0"
    for name in search:
        if name not in SPACE:
            raise UnknownName("setting to search", name, SPACE)
        if name in unfit:
            raise SettingError(f"'{name}' cannot be searched: {unfit[name]}. Leave it out.")
    return list(search) or [name for name in SPACE if name not in unfit]


def _of_recipe(recipe: Recipe, names: Sequence[str]) -> dict[str, Any]:
    """The recipe as a point of the space."""
    return {name: getattr(recipe, name) for name in names}


# ---------------------------------------------------------------- the study


def _open_study(out: Path, base: Plan, names: Sequence[str], images: Images) -> Study:
    """That of the folder, whose failed trials are tried again, or a new one whose first trial is the recipe itself."""
    try:
        import optuna
    except ImportError:
        raise MissingExtra("Tuning", "tune") from None
    from sqlalchemy import URL

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"'{out}' cannot be written: {reason(error)}. Name another folder.") from None
    asked = f"{to_toml(base)}\nsearch {', '.join(names)}\nimages {images.fingerprint}"
    url = URL.create("sqlite", database=str((out / "study.db").absolute())).render_as_string()
    first_rung = max(1, base.recipe.epochs // _RUNGS_FROM)
    with _alone(out):
        study = optuna.create_study(
            study_name="tune",
            storage=optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}}),
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.SuccessiveHalvingPruner(first_rung, _KEEP_ONE_IN),
        )
        before = study.user_attrs.get("asked")
        if before is None:
            study.set_user_attr("asked", asked)
            study.enqueue_trial(_of_recipe(base.recipe, names))
        elif before != asked:
            raise SettingError(
                f"'{out}' holds the study of another recipe, search or set of images: name another folder."
            )
        else:
            _try_failed_again(study)
    return study


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One process, and one thread of it, at a time."""
    with _recorded(out), _locked(out / "study.lock", wait_s=600):
        yield


@contextmanager
def _recorded(out: Path) -> Iterator[None]:
    """Names the folder where the record of the search cannot be read or written."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (sqlite3.Error, SQLAlchemyError, StorageInternalError) as error:
        cause: BaseException = error
        while cause.__cause__:  # SQLite's own words
            cause = cause.__cause__
        if getattr(cause, "sqlite_errorname", "") == "SQLITE_BUSY":
            raise StorageError(
                f"Another process has been at work on the search in '{out}' for long: try later."
            ) from None
        raise StorageError(
            f"The record of the search, '{out / 'study.db'}', cannot be read or written: {cause}. See to the disk, or "
            "name another folder; without that file the search begins again, and takes the runs there as they are."
        ) from None


@contextmanager
def _locked(path: Path, *, wait_s: float) -> Iterator[None]:
    """Holds a lock, that of a dead process being free at once, on this machine and in all of its containers."""
    with closing(sqlite3.connect(path, timeout=wait_s, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def _alive(out: Path) -> Iterator[str]:
    """Holds a lock of its own, by which others see that this search is alive, and gives its name.

    A number of a process would not do: those of another container cannot be seen.
    """
    name = f"alive-{uuid4().hex[:12]}.lock"
    try:
        with _locked(out / name, wait_s=0):
            yield name
    finally:
        _sweep_away(out / name)


def _is_alive(out: Path, name: str | None) -> bool:
    """Whether a trial's search still runs. None: it died while it began."""
    if name is None or not (out / name).is_file():
        return False
    try:
        with _locked(out / name, wait_s=0):
            pass
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return True
        raise
    _sweep_away(out / name)
    return False


def _sweep_away(lock: Path) -> None:
    with suppress(OSError):
        lock.unlink()


def _next_trial(
    study: Study, out: Path, me: str, trials: int, base: Plan, names: Sequence[str], images: Images
) -> Trial | None:
    """A trial with its settings, or None when there are enough; those of dead processes come first."""
    with _alone(out):
        _take_over_from_the_dead(study, out)
        if _tried(study) >= trials:
            return None
        trial, settings = _propose(study, base, names, images)
        trial.set_user_attr("settings", settings)
        trial.set_user_attr("alive", me)
    return trial


def _propose(study: Study, base: Plan, names: Sequence[str], images: Images) -> tuple[Trial, dict[str, Any]]:
    """Settings that the recipe takes; those that it refuses are told as pruned, and others asked for."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    for _ in range(_PROPOSALS):
        # By its number alone, so that a search that was cut off goes on as if it had not been.
        study.sampler = TPESampler(seed=base.recipe.seed * 100_003 + len(study.get_trials(deepcopy=False)))
        trial = study.ask()
        settings = {name: SPACE[name](trial, base.recipe, images) for name in names}
        try:
            _plans(base, settings)
        except SettingError as error:
            study.tell(trial, state=TrialState.PRUNED)
            refused = error
        else:
            return trial, settings
    raise SettingError(
        f"{_PROPOSALS} proposals in a row do not go with the recipe: {refused} Change that, or name what to search."
    )


def _begun(study: Study) -> list[FrozenTrial]:
    """The trials that have settings: all but those that the recipe refused."""
    return [trial for trial in study.get_trials(deepcopy=False) if "settings" in trial.user_attrs]


def _counted(study: Study) -> list[FrozenTrial]:
    """Those that no other one is tried instead of."""
    replaced = {trial.user_attrs.get("instead_of") for trial in study.get_trials(deepcopy=False)}
    return [trial for trial in _begun(study) if trial.number not in replaced]


def _states(study: Study) -> list[str]:
    return [trial.state.name for trial in _counted(study)]


def _try_failed_again(study: Study) -> None:
    """Puts the trials that failed back in the queue, since what they lacked may be there now."""
    for trial in _counted(study):
        starts = trial.user_attrs.get("starts", 1)
        if trial.state.name == "PRUNED" and "failed" in trial.user_attrs and starts < _STARTS:
            study.enqueue_trial(trial.params, user_attrs={"instead_of": trial.number, "starts": starts + 1})


def _tried(study: Study) -> int:
    """Trials that came to an end or are under way."""
    return sum(state in ("COMPLETE", "PRUNED", "RUNNING") for state in _states(study))


def _complete(study: Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]


def _take_over_from_the_dead(study: Study, out: Path) -> None:
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "RUNNING" and not _is_alive(out, trial.user_attrs.get("alive")):
            _again(study, trial.number, died=True)


def _again(study: Study, number: int, *, died: bool = False) -> None:
    """Puts a trial that was cut off back in the queue; its runs go on from their checkpoints.

    Only deaths without progress speak against it: a long trial may be cut off often.
    """
    from optuna.trial import TrialState

    trial = study.get_trials(deepcopy=False)[number]
    before = trial.user_attrs.get("reached", 0)
    reached = max(before, trial.last_step or 0)
    deaths = 0 if reached > before else trial.user_attrs.get("deaths", 0) + died
    if deaths >= _STARTS:
        study.tell(number, state=TrialState.PRUNED)
        return
    study.tell(number, state=TrialState.FAIL)
    starts = trial.user_attrs.get("starts", 1)
    study.enqueue_trial(trial.params, user_attrs={"deaths": deaths, "reached": reached, "starts": starts})


# ---------------------------------------------------------------- one trial


def _plans(base: Plan, settings: Mapping[str, Any]) -> list[Plan]:
    """A trial's runs: one, or one a fold."""
    plan = base.but(recipe=base.recipe.but(**settings))
    return [plan.but(images=plan.images.but(fold=fold)) for fold in range(base.images.folds or 1)]


def _run_trial(study: Study, trial: Trial, base: Plan, run_one: Callable[[Plan, Stop], Run]) -> str:
    """Runs a trial to its end or until it is pruned, and tells the study; returns why it failed, or "".

    One that fails is told as pruned, so that its neighbourhood is avoided; one that is cut off goes back in the queue.
    """
    from optuna.trial import TrialState

    try:
        value, failure = _value(trial, _plans(base, trial.user_attrs["settings"]), run_one)
        if failure:
            trial.set_user_attr("failed", failure)
    except BaseException:  # not Ctrl-C alone: in a notebook, this process lives on after any error
        _again(study, trial.number)
        raise
    study.tell(trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
    return failure


def _value(trial: Trial, plans: Sequence[Plan], run_one: Callable[[Plan, Stop], Run]) -> tuple[float | None, str]:
    """What the runs of a trial are worth on val, as their mean; None where one was pruned or failed, and why."""
    values: list[float] = []
    for fold, plan in enumerate(plans):
        judge = _judge(trial, fold, plan.recipe.epochs, len(plans), values)
        run = run_one(plan, judge)
        judge(run.history)  # of a run that was there already, because its trial was cut off after it
        if run.status == "interrupted":
            raise KeyboardInterrupt
        if run.val is None:
            return None, run.reason
        if run.reason.startswith(_PRUNED):
            return None, ""
        values.append(run.val.merit)
    return fmean(values), ""


def _judge(trial: Trial, fold: int, epochs: int, folds: int, before: Sequence[float]) -> Stop:
    """Reports each epoch of a fold, as the mean with the folds before it, and says whether the trial lags behind."""
    reported: set[int] = set()

    def why_prune(history: Sequence[Epoch]) -> str:
        step = 0
        for epoch, best in zip(history, accumulate((epoch.val_score for epoch in history), max), strict=True):
            step = fold * epochs + epoch.epoch
            if step not in reported:
                reported.add(step)
                trial.report(fmean([*before, best]), step)
        if step < folds * epochs and trial.should_prune():
            return f"{_PRUNED}: not in the best third of the trials that came as far"
        return ""

    return why_prune


# ---------------------------------------------------------------- what came of it


def _conclude(
    study: Study,
    base: Plan,
    searched: Sequence[str],
    shelf: Shelf,
    out: Path,
    usd_per_hour: float | None,
    *,
    stopped: bool,
) -> Chosen:
    """Compares the trials that came to their end; where none is under way any more, the best looks at test."""
    with _alone(out):  # from the first look at the trials on, so that two that end together see the same ones
        done = _complete(study)
        plans = {trial.number: _plans(base, trial.user_attrs["settings"]) for trial in done}
        runs = list({plan.name: load_run(out / plan.name) for trial in done for plan in plans[trial.number]}.values())
        names = {plan.variant: f"trial {number}" for number, of_one in reversed(plans.items()) for plan in of_one}
        everything = _all_runs(study, base, out)
        if not runs and stopped:
            raise KeyboardInterrupt
        if not runs:
            told = "; ".join(dict.fromkeys(run.reason.rstrip(".") for run in everything)) or "each was killed"
            raise SettingError(
                f"No trial came to its end: {told}. Put that right and start again; after {_STARTS} starts in vain, in "
                "another folder."
            )
        chosen = compare(runs, names=names)
        if not stopped and "RUNNING" not in _states(study):
            seen = look_at_test(chosen.best, shelf.ready(chosen.best.plan), usd_per_hour=usd_per_hour)
            runs = [seen if run.folder == seen.folder else run for run in runs]
            everything = [seen if run.folder == seen.folder else run for run in everything]
        best = chosen.best.plan
        best = best.but(images=best.images.but(folds=None, fold=0))
        write_whole(out / "plan.toml", to_toml(best).encode())
        write_whole(out / "runs.csv", to_csv(runs).encode())
        write_whole(out / "trials.csv", _trials_csv(study, base, searched).encode())
    story = _story(study, best, searched, stopped=stopped)
    chosen = compare(runs, names=names, story=story, bill=whole_bill(everything))
    return replace(chosen, stopped=stopped)


def _all_runs(study: Study, base: Plan, out: Path) -> list[Run]:
    """Those of pruned and failed trials too, which have a place on the bill."""
    plans = [plan for trial in _begun(study) for plan in _plans(base, trial.user_attrs["settings"])]
    folders = dict.fromkeys(out / plan.name for plan in plans)
    return [load_run(folder) for folder in folders if (folder / "result.json").is_file()]


def _story(study: Study, best: Plan, searched: Sequence[str], *, stopped: bool) -> list[str]:
    states = _states(study)
    counted = {
        "COMPLETE": "came to their end",
        "PRUNED": "were stopped or failed",
        "RUNNING": "are under way elsewhere",
    }
    told = [f"{states.count(state)} {words}" for state, words in counted.items() if state in states]
    story = [f"{_tried(study)} trials: {', '.join(told)}."]
    if stopped:
        story.append("Stopped by Ctrl-C: the same command goes on from here.")
    settings = ", ".join(f"{name} {getattr(best.recipe, name)}" for name in searched)
    return [*story, f"The best has {settings}."]


def _trials_csv(study: Study, base: Plan, searched: Sequence[str]) -> str:
    """One line a trial: how it ended, what it was worth so far, how far it came, its settings and its folders."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", f"val_{MEASURES[base.images.task].key}", "steps", *searched, "folders"])
    for trial in _begun(study):
        settings, last = trial.user_attrs["settings"], trial.last_step
        value = trial.value if last is None or trial.value is not None else trial.intermediate_values[last]
        folders = " ".join(plan.name for plan in _plans(base, settings))
        row = [trial.number, trial.state.name.lower(), value, last, *(settings[name] for name in searched), folders]
        writer.writerow(row)
    return text.getvalue()
