"""A study as it stands in its file: named parts, each a plan of a sweep, and what others had claimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from scrimp.cost import hourly_rate, watt_hours
from scrimp.errors import NotFound, SettingError, UnknownName
from scrimp.settings import Settings, read_toml
from scrimp.studying.measures import MEASURED
from scrimp.techniques import Trial, one_at_a_time

Tables = dict[str, dict[str, Any]]
Changes = Mapping[str, Any]
"""Dotted names to values: one value fixes a setting, a list varies it, and "" takes it away."""

TABLES = ("images", "selection", "distillation", "preparation", "recipe")

FROM_SCRATCH: Changes = {"recipe.pretrained": False, "recipe.norm_stats": "learn", "recipe.head_first": "none"}
"""What starts from random numbers has no weights whose statistics or features could be relied on."""


class Shared(Settings):
    """The tables of a plan, as `scrimp sweep --plan` takes them; whatever is left out has its default."""

    images: dict[str, Any] = Field({})
    selection: dict[str, Any] = Field({})
    distillation: dict[str, Any] = Field({})
    preparation: dict[str, Any] = Field({})
    recipe: dict[str, Any] = Field({})


class Part(Shared):
    """One sweep of a study; its tables are laid over those that all parts share."""

    about: str = ""
    """What it is for, in a sentence."""
    preset: str | None = None
    """A recipe by name, such as "plain", in place of the shared one."""
    vary: dict[str, list[Any]] = Field({})
    """Dotted names to the values they take; every combination is a run."""
    techniques: dict[str, dict[str, Any]] = Field({})
    """See docs/techniques.md; then of [vary] only the seed is varied."""
    alternatives: dict[str, dict[str, Any]] = Field({})
    quick: dict[str, Any] = Field({})
    """What --quick changes here, over what it changes everywhere."""
    by_default: bool = True
    """False: it runs only where --part names it."""
    in_quick: bool = True
    """False: --quick leaves it out, unless --part names it."""
    trials: int | None = Field(default=None, ge=1)
    """Tune the recipe of each model in so many trials, in place of a sweep (needs the extra tune)."""
    target: Literal["colourfulness"] | None = None
    """Learn to say this number of each image, reckoned from its pixels, in place of its class."""
    codes: tuple[int, ...] = ()
    """Compare eigenfaces and an autoencoder at codes of so many numbers, in place of a sweep."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        kinds = [name for name in ("trials", "codes", "techniques") if getattr(self, name)]
        if len(kinds) > 1:
            raise SettingError(f"A part is one thing, but {' and '.join(kinds)} are given: make two parts of it.")
        return self

    def runs(self) -> list[Trial]:
        """A trial for each run, in order; without techniques each is a base of its own."""
        from scrimp.sweeping import vary

        tables: Tables = {name: dict(table) for name in TABLES if (table := getattr(self, name))}
        if self.codes:
            return []
        if self.techniques or self.alternatives:
            return one_at_a_time(tables, self.techniques, self.vary, self.alternatives)
        return [Trial(None, False, plan) for plan in vary(tables, self.vary)]


class Theirs(Settings):
    """Figures that others published, to stand beside ours.

    title: what they are. part: which of ours they are held against, by the setting `by`, whose values name the rows.
    machine: where theirs come from. rows: for each value, figures by the names of `MEASURED`.
    """

    title: str
    part: str
    by: str = "recipe.model"
    machine: str = ""
    rows: dict[str, dict[str, float]]

    @field_validator("rows")
    @classmethod
    def _figures_are_known(cls, rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for row in rows.values():
            for name in row:
                if name not in MEASURED:
                    raise UnknownName("figure", name, MEASURED)
        return rows


class Claim(Settings):
    """Something that others said, and how it is checked by a function of `scrimp.studying.claims`.

    says: the claim, in a sentence. theirs: the figure they gave. check: the function. part: whose runs it looks at.
    measure: a name of `MEASURED`. of, against: dotted settings that pick the runs to compare; "" picks what none has.
    figure, within: a number and how far from it counts as the same. bill: the name of a bill.
    """

    says: str
    theirs: str
    check: str = "untested"
    part: str = ""
    measure: str = "test"
    of: dict[str, Any] = Field({})
    against: dict[str, Any] = Field({})
    figure: float = 0.0
    within: float = 0.0
    bill: str = ""

    @field_validator("measure")
    @classmethod
    def _measure_is_known(cls, measure: str) -> str:
        if measure not in MEASURED:
            raise UnknownName("figure", measure, MEASURED)
        return measure


class Bill(Settings):
    """What is reckoned on paper, for a machine that is not here.

    hours, or images and images_per_second of each device; basis: where these come from. watts: of each device.
    """

    what: str
    basis: str
    devices: int = Field(default=1, ge=1)
    hours: float | None = Field(default=None, gt=0)
    images: float | None = Field(default=None, gt=0)
    images_per_second: float | None = Field(default=None, gt=0)
    watts: float | None = Field(default=None, gt=0)
    instance: str | None = None
    usd_per_hour: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _time_is_known(self) -> Self:
        by_images = self.images is not None and self.images_per_second is not None
        if (self.hours is not None) == by_images:
            raise SettingError(f"The bill of '{self.what}' wants hours, or images and images_per_second: one of them.")
        hourly_rate(self.instance, self.usd_per_hour)
        return self

    @property
    def seconds(self) -> float:
        """How long it takes; devices share the images, as if nothing were lost between them."""
        if self.hours is not None:
            return self.hours * 3600
        assert self.images is not None
        assert self.images_per_second is not None
        return self.images / (self.images_per_second * self.devices)

    @property
    def kwh(self) -> float | None:
        """Energy of the devices alone; None where their watts are not known."""
        return None if self.watts is None else watt_hours(self.seconds, self.watts, self.devices) / 1000

    @property
    def usd(self) -> float | None:
        """Money for the whole machine, with all its devices."""
        rate = hourly_rate(self.instance, self.usd_per_hour)
        return None if rate is None else self.seconds / 3600 * rate


class Study(Shared):
    """A whole study.

    quick: what --quick changes in every part. instance: a machine whose price stands beside the time. explain: the part
    whose winner is looked at with heat maps. wishes: what the authors would have liked to do, and which part does it.
    """

    name: str
    title: str
    about: str = ""
    instance: str | None = None
    explain: str = ""
    quick: dict[str, Any] = Field({})
    parts: dict[str, Part] = Field(min_length=1)
    theirs: tuple[Theirs, ...] = ()
    claims: tuple[Claim, ...] = ()
    bills: dict[str, Bill] = Field({})
    wishes: dict[str, str] = Field({})
    is_quick: bool = False
    """Whether --quick has been applied; set by `settled`."""

    @model_validator(mode="after")
    def _names_lead_somewhere(self) -> Self:
        from scrimp.studying.claims import CHECKS

        hourly_rate(self.instance)
        for claim in self.claims:
            if claim.check not in CHECKS:
                raise UnknownName("check", claim.check, CHECKS)
            if claim.bill and claim.bill not in self.bills:
                raise UnknownName("bill", claim.bill, self.bills)
        return self

    def settled(
        self,
        *,
        data: str | None = None,
        quick: bool = False,
        parts: Sequence[str] = (),
        changes: Changes | None = None,
    ) -> Study:
        """The same with everything decided: each part stands alone, and nothing is shared or left to --quick.

        data: a folder, URI, manifest or name to study in place of the study's own; parts that name images of their own
        keep them. quick: with what the file says of --quick. parts: these alone. changes: over all the rest.
        Raises `UnknownName` for a part that is not there, `SettingError` for plans that cannot be.
        """
        for name in parts:
            if name not in self.parts:
                raise UnknownName("part", name, self.parts)
        settled = {}
        for name, part in self.parts.items():
            if name in parts or (not parts and part.by_default and (part.in_quick or not quick)):
                settled[name] = self._settled(name, part, data, quick, changes or {})
        return self.but(parts=settled, quick={}, **{name: {} for name in TABLES}, is_quick=quick)

    def _settled(self, name: str, part: Part, data: str | None, quick: bool, changes: Changes) -> Part:
        from scrimp.training.recipes import settings_of

        tables: Tables = {}
        for table in TABLES:
            shared, own = getattr(self, table), getattr(part, table)
            if table == "recipe" and part.preset:
                shared = settings_of(part.preset)
            tables[table] = {key: value for key, value in {**shared, **own}.items() if value != ""}
        if data is not None and "source" not in part.images:
            tables["images"]["source"] = data
        if "source" not in tables["images"]:
            raise SettingError(f"Part '{name}' of '{self.name}' names no images: give a folder with --data.")
        axes = dict(part.vary)
        for dotted, value in {**(self.quick if quick else {}), **(part.quick if quick else {}), **changes}.items():
            table, dot, setting = dotted.partition(".")
            if not dot or table not in TABLES:
                raise SettingError(f"'{dotted}' changes no setting of a plan: write TABLE.NAME, such as recipe.epochs.")
            axes.pop(dotted, None)
            tables[table].pop(setting, None)
            if isinstance(value, list):
                axes[dotted] = value
            elif value != "":
                tables[table][setting] = value
        made = part.but(**tables, preset=None, vary=axes, quick={})
        made.runs()  # what cannot be is refused before anything starts
        return made


def known_studies() -> dict[str, Path]:
    """The studies that come with Scrimp: name to file."""
    inside = Path(__file__).parents[1] / "studies"  # of an installed Scrimp
    folder = inside if inside.is_dir() else Path(__file__).parents[2] / "studies"
    files = sorted(folder.glob("*.toml"))
    return {path.stem.replace("_", "-"): path for path in files if "parts" in read_toml(path)}


def file_of(name: str) -> Path:
    """The file of a study: one that comes with Scrimp by its name, or a TOML file of your own."""
    known = known_studies()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix != ".toml":
        raise UnknownName("study", name, known, f"Known: {', '.join(known)}; or give a TOML file of your own.")
    if not path.is_file():
        raise NotFound(f"No study at '{name}'. Those that come with Scrimp: {', '.join(known)}.")
    return path


def read_study(name: str | Path) -> Study:
    """A study by its name, or from a TOML file of your own; `settled` makes it ready to run.

    Raises `UnknownName` or `NotFound` where there is none, `SettingError` for what it cannot be.
    """
    path = file_of(str(name))
    tables = read_toml(path)
    if "parts" not in tables:
        raise SettingError(
            f"'{path}' has no [parts]: if it is the plan of one sweep, run 'scrimp sweep --plan {path}'."
        )
    return Study(**{"name": path.stem.replace("_", "-"), "title": path.stem, **tables})
