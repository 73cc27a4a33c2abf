"""Runs a study part by part, resumed where it was cut off, and reads back what it found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scrimp.cost import FREE, Cost
from scrimp.errors import NotFound, SettingError
from scrimp.meter import Run, load_run, load_runs
from scrimp.plan import Plan
from scrimp.settings import read_toml, to_toml
from scrimp.store import write_whole
from scrimp.studying.claims import Checked, check
from scrimp.studying.codes import Code, compare_codes, load_codes
from scrimp.studying.plans import Part, Study
from scrimp.studying.predicting import Forecast, foresee
from scrimp.studying.targets import with_target
from scrimp.sweeping import Shelf, keep_best, sweep, vary
from scrimp.techniques import Effect, effects, names_of, plans_of
from scrimp.tradeoff import Chosen, compare, whole_bill

PLAN, FORECAST = "study.toml", "forecast.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Ran:
    """What became of a part.

    runs: those there are, failed ones too. planned: how many there should be. chosen: the comparison, None without a
    run that was scored. effects: what techniques bought. codes: for a part that compares such.
    """

    name: str
    part: Part
    folder: Path
    runs: tuple[Run, ...]
    planned: int
    chosen: Chosen | None
    effects: tuple[Effect, ...] = ()
    codes: tuple[Code, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is missing that could have run."""
        return len(self.codes if self.part.codes else self.runs) >= self.planned


@dataclass(frozen=True, kw_only=True, eq=False)
class Studied:
    """A study and what it found, as its folder holds it.

    foreseen_s: seconds that were foreseen for what was left when it was last started. without: models that could not
    start, and why. claims: each with what became of it. bill: of all runs, what they share counted once.
    """

    study: Study
    folder: Path
    parts: Mapping[str, Ran]
    claims: tuple[Checked, ...]
    without: Mapping[str, str]
    foreseen_s: float
    bill: Cost

    @property
    def explained(self) -> Run | None:
        """The run whose heat maps the study asks for: the winner of its part `explain`."""
        ran = self.parts.get(self.study.explain)
        return ran.chosen.best if ran and ran.chosen else None


def run_study(
    study: Study, out: str | Path, *, forecast: Forecast | None = None, usd_per_hour: float | None = None
) -> Studied:
    """Every part of a settled study, each in its folder below `out`; what is done there already is taken as it is.

    `best` in a part's folder leads to its winner. Ctrl-C ends it: what there is is returned, and the same call goes on.
    forecast: as `foresee` gave it; made here without one. usd_per_hour: the price of this machine.
    Cost: that of its runs. Raises `SettingError` where `out` holds another study.
    """
    out = Path(out)
    whole = _with_earlier_parts(study, out)
    forecast = forecast or foresee(study, out, usd_per_hour=usd_per_hour)
    write_whole(out / PLAN, to_toml(whole).encode())
    facts = {
        "seconds": forecast.seconds,
        "without": dict(forecast.without),
        "parts": [p._asdict() for p in forecast.parts],
    }
    write_whole(out / FORECAST, json.dumps(facts, indent=1, ensure_ascii=False).encode())
    for name, part in study.parts.items():
        try:
            runs = _run_part(part, out / name, forecast.without, usd_per_hour)
        except KeyboardInterrupt:
            break
        if any(run.status == "interrupted" for run in runs):
            break
    found = load_study(out)
    for ran in found.parts.values():
        if ran.chosen:
            keep_best(ran.folder, ran.chosen.best)
    return found


def load_study(folder: str | Path) -> Studied:
    """A study from its folder, finished or not; claims are checked anew. Nothing is computed but means and tests.

    Raises `NotFound` where there is none.
    """
    folder = Path(folder)
    if not (folder / PLAN).is_file():
        raise NotFound(f"No study in '{folder}': there is no {PLAN}. 'scrimp study NAME --out {folder}' makes one.")
    study = Study(**read_toml(folder / PLAN))
    told = json.loads((folder / FORECAST).read_text(encoding="utf-8"))
    without = told["without"]
    parts = {name: _load_part(name, part, folder / name, without) for name, part in study.parts.items()}
    ended = {name: [run for run in ran.runs if run.val and run.status != "interrupted"] for name, ran in parts.items()}
    lacking = {name: _lacking(part, ended[name]) for name, part in study.parts.items()}
    every = [run for ran in parts.values() for run in ran.runs]
    return Studied(
        study=study,
        folder=folder,
        parts=parts,
        claims=tuple(
            check(claim, ended.get(claim.part, []), study, lacking.get(claim.part, ())) for claim in study.claims
        ),
        without=without,
        foreseen_s=told["seconds"],
        bill=whole_bill(every) if every else FREE,
    )


def _with_earlier_parts(study: Study, out: Path) -> Study:
    """The study with the parts that an earlier start in the same folder had and this one leaves out."""
    if not (out / PLAN).is_file():
        return study
    there = Study(**read_toml(out / PLAN))
    if there.name != study.name or there.is_quick != study.is_quick:
        kind = "a --quick run of " if there.is_quick else ""
        raise SettingError(f"'{out}' holds {kind}the study '{there.name}': name another folder with --out.")
    for name, part in study.parts.items():
        if (part.target or part.codes) and there.parts.get(name, part).images != part.images:
            raise SettingError(f"Part '{name}' in '{out}' was made from other images: name another folder with --out.")
    return study.but(parts={**there.parts, **study.parts})


# ---------------------------------------------------------------- one part


def _run_part(part: Part, folder: Path, without: Mapping[str, str], usd_per_hour: float | None) -> Sequence[Run]:
    if part.codes:
        return _run_codes(part, folder)
    plans = with_target(_able(part, without), part, folder)
    if not plans:
        return []
    if part.trials:
        return _tune(plans, part.trials, folder, usd_per_hour)
    return sweep(plans, folder, usd_per_hour=usd_per_hour, apart=bool(part.techniques))


def _run_codes(part: Part, folder: Path) -> Sequence[Run]:
    if not load_codes(folder):
        tables = {
            "images": part.images,
            "preparation": part.preparation,
            "recipe": {"model": "simple_cnn", **part.recipe},  # of which only epochs and seed count
        }
        [plan] = vary(tables, {})
        compare_codes(Shelf().ready(plan), part.codes, folder, epochs=plan.recipe.epochs, seed=plan.recipe.seed)
    return []


def _tune(plans: Sequence[Plan], trials: int, folder: Path, usd_per_hour: float | None) -> Sequence[Run]:
    from scrimp.tuning import tune

    shelf = Shelf()
    for plan in plans:
        found = tune(
            shelf.images(plan),
            plan.recipe,
            preparation=plan.preparation,
            trials=trials,
            out=folder / plan.name,
            usd_per_hour=usd_per_hour,
        )
        if found.stopped:
            raise KeyboardInterrupt
    return []


def _able(part: Part, without: Mapping[str, str]) -> list[Plan]:
    """The plans of a part, each once, but for those whose model cannot start."""
    return [plan for plan in plans_of(part.runs()) if not _lacks_weights(plan, without)]


def _lacks_weights(plan: Plan, without: Mapping[str, str]) -> bool:
    return plan.recipe.pretrained and plan.recipe.model in without


def _load_part(name: str, part: Part, folder: Path, without: Mapping[str, str]) -> Ran:
    if part.codes:
        codes = tuple(load_codes(folder))
        return Ran(name=name, part=part, folder=folder, runs=(), planned=2 * len(part.codes), chosen=None, codes=codes)
    trials = part.runs()
    runs = _runs(part, folder, plans_of(trials))
    earlier = [run for run in runs if _lacks_weights(run.plan, without)]
    scored = [run for run in runs if run.val]
    names = names_of(trials) if part.techniques else None
    return Ran(
        name=name,
        part=part,
        folder=folder,
        runs=tuple(runs),
        planned=len(_able(part, without)) + len(earlier),
        chosen=compare(runs, names=names) if scored else None,
        effects=tuple(effects(trials, runs)) if part.techniques else (),
    )


def _runs(part: Part, folder: Path, plans: Sequence[Plan]) -> list[Run]:
    """The run of each plan, whatever became of it; of a search, its best trial."""
    if part.trials:
        return [run for plan in plans if (run := _best_trial(folder / plan.name))]
    if part.target:
        there = load_runs(folder)
        return [run for plan in plans for run in there if _made_by(plan, run, part)]
    there = [load_run(folder / plan.name) for plan in plans if (folder / plan.name / "result.json").is_file()]
    return [run for run in there if run.plan in plans]


def _lacking(part: Part, ended: Sequence[Run]) -> list[Plan]:
    """The plans of a part that no run which came to its end was made by; of a search, by their models."""
    plans = [trial.plan for trial in part.runs()]
    if part.trials:
        models = {run.plan.recipe.model for run in ended}
        return [plan for plan in plans if plan.recipe.model not in models]
    return [plan for plan in plans if not any(_made_by(plan, run, part) for run in ended)]


def _made_by(plan: Plan, run: Run, part: Part) -> bool:
    """Whether the run is of this plan; a table of targets has another path wherever the folder is moved to."""
    return (run.plan.but(images=plan.images) if part.target else run.plan) == plan


def _best_trial(folder: Path) -> Run | None:
    """The trial that a search has found best, which alone has looked at test."""
    found = [load_run(path.parent) for path in sorted(folder.glob("*/result.json"))]
    return next((run for run in found if run.test is not None), None)
