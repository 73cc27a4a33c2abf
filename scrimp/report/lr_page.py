"""The page of a search for a learning rate: the curve, what it suggests, what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scrimp.report import figures, words
from scrimp.report.html import Tile, asset, inline_json, plotly, render
from scrimp.store import write_whole

if TYPE_CHECKING:
    from scrimp.training import LrFound


def write_lr_curve(found: LrFound, path: str | Path, *, title: str = "Learning rate") -> Path:
    """Writes one self-contained HTML file that shows a search for a learning rate, and returns where it is.

    The file needs no network and no other file; it appears whole or not at all. title: its heading. Costs under a
    second and about 5 MB of disk, nearly all of it the chart library.
    Raises `StorageError` when the file cannot be written.
    """
    path = Path(path)
    charts = {"lr": figures.lr_curve(found)} if found.lrs else {}
    page = render(
        "lr_page.html.j2",
        title=title,
        found=found,
        tiles=_tiles(found),
        charts=charts,
        figures_json=inline_json(charts),
        css=asset("page.css"),
        js=asset("page.js"),
        plotly=plotly(),
    )
    write_whole(path, page.encode())
    return path


def _tiles(found: LrFound) -> list[Tile]:
    none = "none found"
    energy = words.amount(found.cost.wh, "Wh")
    return [
        Tile("learning rate", f"{found.lr:.2g}" if found.lr else none, "the highest of a run"),
        Tile("steepest descent", f"{found.steepest:.2g}" if found.steepest else none, "where the loss falls fastest"),
        Tile("valley", f"{found.valley:.2g}" if found.valley else none, "two thirds down the longest descent"),
        Tile("steps", f"{len(found.losses):,}", "of training, on a copy of the model"),
        Tile("time", words.duration(found.cost.seconds), "with making the model and reading images"),
        Tile("energy", energy, found.cost.wh_source or ""),
    ]
