"""The page of an explanation: what the model looks at, where it errs, and how far its probabilities can be trusted."""

from __future__ import annotations

import shlex
from pathlib import Path

from markupsafe import Markup

from scrimp.explaining import Explanation
from scrimp.report import figures, words
from scrimp.report.html import Tile, asset, inline_json, plotly, render
from scrimp.scores import MEASURES
from scrimp.store import write_whole

EXPLANATION = "explanation.html"
"""What the page is called in the folder of its run, where the report looks for it."""

_PIXELS_SHOW = 64  # px: smaller images are enlarged without smoothing
_GOOD_ECE = 0.02


def write_explanation(explanation: Explanation, path: str | Path, *, title: str | None = None) -> Path:
    """Writes one self-contained HTML file that shows an explanation, and returns where it is.

    The file needs no network and no other file; it appears whole or not at all. title: its heading; by default the
    name of the run's folder. Costs under a second and about 6 MB of disk, most of it the chart library.
    Raises `StorageError` when the file cannot be written.
    """
    path = Path(path)
    charts, told = figures.explanation_charts(explanation), explanation.robustness
    page = render(
        "explanation.html.j2",
        title=title or f"Why {words.source_name(explanation.folder)} is right or wrong",
        found=explanation,
        measure=MEASURES[explanation.task],
        tiles=_tiles(explanation),
        charts=charts,
        drawn=len(figures.explained_classes(explanation)),
        verdict=_verdict(explanation),
        worse=list(zip(told.corrupted, told.example, strict=True)) if told else (),
        trust=_trust(explanation),
        enlarged=explanation.image_px < _PIXELS_SHOW,
        command=f"scrimp explain {shlex.quote(explanation.folder)}",
        figures_json=inline_json(charts),
        css=Markup("\n").join((asset("page.css"), asset("explanation.css"))),
        js=asset("page.js"),
        plotly=plotly() if charts else "",
    )
    write_whole(path, page.encode())
    return path


def _verdict(found: Explanation) -> str:
    """What was looked at, in a sentence or two."""
    if found.scores is None:
        return f"{found.model} on {words.of(len(found.given), 'image')} of your own."
    said = f"{found.model}: {found.scores.said} on {words.of(found.scores.n, f'{found.split} image')}."
    if found.robustness:
        measure = MEASURES[found.task]
        worst = min(found.robustness.corrupted, key=lambda one: one.merit)
        if worst.merit < found.robustness.clean:
            said += f" What harms it most is {worst.kind}: at {worst.setting}, {measure.word} falls to "
            said += f"{measure.text(worst.merit)}."
        else:
            said += f" None of {', '.join(dict.fromkeys(one.kind for one in found.robustness.corrupted))} harms it."
    return said


def _tiles(found: Explanation) -> list[Tile]:
    """The figures that everybody wants to know first."""
    measure = MEASURES[found.task]
    tiles = []
    if found.scores:
        tiles.append(
            Tile(f"{found.split} {measure.word}", measure.text(found.scores.merit), f"{found.scores.n:,} images")
        )
    if found.calibration:
        scaled, note = found.calibration.ece_scaled, f"up to {words.percent(found.calibration.ece_by_chance)} by chance"
        note += "" if scaled is None else f"; {words.percent(scaled)} with the temperature"
        tiles.append(Tile("calibration error (ECE)", words.percent(found.calibration.ece), note))
    if found.calibration and found.calibration.temperature:
        tiles.append(Tile("temperature", words.number(found.calibration.temperature), "fitted on val"))
    if found.robustness:
        for kind in dict.fromkeys(one.kind for one in found.robustness.corrupted):
            worst = [one for one in found.robustness.corrupted if one.kind == kind][-1]
            tiles.append(Tile(f"with {kind}", measure.text(worst.merit), f"at {worst.setting}"))
    return tiles


def _trust(found: Explanation) -> str:
    """What the calibration means, in words."""
    told = found.calibration
    if told is None:
        return ""
    excess = told.excess
    if told.honest:
        said = f"Its probabilities cannot be told from honest ones on {words.of(told.answers, 'answer')}: chance alone "
        said += f"makes an error of up to {words.percent(told.ece_by_chance)}, and this one is "
        said += f"{words.percent(told.ece)}."
    elif told.ece < _GOOD_ECE:
        said = "Its probabilities can be taken as they stand."
    elif abs(excess) < told.ece / 2:
        said = "Its probabilities are off in both directions."
    else:
        said = f"It is {'surer than it should be' if excess > 0 else 'less sure than it could be'}: by "
        said += f"{words.percent(abs(excess))} on average."
    if told.temperature is not None and told.ece_scaled is not None:
        said += f" Dividing its outputs by {words.number(told.temperature)}, which was fitted on val, "
        said += {True: "helps", False: "does not help", None: "makes no difference that can be told"}[told.helps]
        said += f": the error is {words.percent(told.ece_scaled)} then, instead of {words.percent(told.ece)}."
    if told.at_limit:
        said += " That temperature is the last one that was tried: val alone would have it further still."
    return said
