"""The page of a distillation: the images that were made, and what they are worth beside real ones."""

from __future__ import annotations

import io
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from PIL import Image

from scrimp.report import words
from scrimp.report.figures import colour
from scrimp.report.html import Tile, asset, inline_json, plotly, render
from scrimp.store import write_whole

if TYPE_CHECKING:
    from scrimp.subset.distilling.comparing import Entry, Judged

_SHOWN = 10  # images of a class
_SIDE = 96  # px of an image on the page, at least


def write_distillation(judged: Judged, path: str | Path, *, title: str | None = None) -> Path:
    """Writes one self-contained HTML file that shows what was distilled beside real images, and returns where it is.

    The file needs no network and no other file; it appears whole or not at all. title: its heading. Costs under a
    second and about 5 MB of disk, nearly all of it the chart library.
    Raises `StorageError` when the file cannot be written.
    """
    path = Path(path)
    distilled = judged.distilled
    charts = {
        "storage": _chart(judged, "bytes", "bytes of the images as PNG (logarithmic)"),
        "seconds": _chart(judged, "seconds", "seconds of making the images and training one network (logarithmic)"),
    }
    page = render(
        "distilled.html.j2",
        title=title or f"{words.source_name(distilled.source.source)}, distilled",
        said=_said(judged),
        tiles=_tiles(judged),
        charts=charts,
        entries=[_line(entry) for entry in judged.entries],
        sheets=[_sheet(entry, judged) for entry in judged.entries[:3]],
        judged=judged,
        notes=distilled.notes,
        figures_json=inline_json(charts),
        css=Markup("\n").join((asset("page.css"), asset("distilled.css"))),
        js=asset("page.js"),
        plotly=plotly(),
    )
    write_whole(path, page.encode())
    return path


def _said(judged: Judged) -> str:
    made, chance = judged.entries[0], judged.entries[1]
    times = f", {made.mean / chance.mean:.1f} times" if chance.mean else ""
    beaten = [entry for entry in judged.entries[1:] if entry.mean <= made.mean]
    most = max((entry.per_class for entry in beaten), default=0)
    worth = f" It is worth at least {words.of(most, 'real image')} a class." if most > made.per_class else ""
    return (
        f"{words.of(made.per_class, 'image')} a class by {made.name}: {words.percent(made.mean)} of val are "
        f"recognised{times} {words.percent(chance.mean)} of as many real ones.{worth}"
    )


def _tiles(judged: Judged) -> list[Tile]:
    made, chance = judged.entries[0], judged.entries[1]
    distilled = judged.distilled
    steps = f"{distilled.steps:,} steps" if distilled.steps else "nothing was learned"
    exact = "" if made.exact_bytes is None else f"{made.exact_bytes / 1e3:,.1f} kB as exact numbers"
    return [
        Tile("accuracy on val", words.percent(made.mean), _spread(made)),
        Tile("as many real images", words.percent(chance.mean), _spread(chance)),
        Tile("images", f"{len(made.pixels):,}", f"{words.of(made.per_class, 'image')} a class"),
        Tile("size", f"{made.bytes / 1e3:,.1f} kB", exact),
        Tile("making", words.duration(made.making_seconds), steps),
        Tile("energy", words.amount(distilled.making.wh, "Wh"), distilled.making.wh_source or ""),
    ]


def _spread(entry: Entry) -> str:
    low, high = min(entry.accuracies), max(entry.accuracies)
    between = f", {words.percent(low)} to {words.percent(high)}" if len(entry.accuracies) > 1 else ""
    return f"mean of {words.of(len(entry.accuracies), 'network')}{between}"


def _line(entry: Entry) -> dict[str, str]:
    return {
        "name": entry.name,
        "per_class": f"{entry.per_class:,}",
        "accuracy": words.percent(entry.mean),
        "spread": " ".join(words.percent(value) for value in entry.accuracies),
        "size": f"{entry.bytes / 1e3:,.1f} kB",
        "making": words.duration(entry.making_seconds),
        "training": words.duration(entry.training_seconds),
    }


def _chart(judged: Judged, axis: str, title: str) -> dict[str, Any]:
    def place(entry: Entry) -> float:
        return float(entry.bytes) if axis == "bytes" else entry.making_seconds + entry.training_seconds

    def trace(name: str, entries: list[Entry], rank: int, symbol: str) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [place(entry) for entry in entries],
            "y": [entry.mean for entry in entries],
            "text": [f"{entry.name}, {entry.per_class:,} a class" for entry in entries],
            "marker": {"color": colour(rank), "size": 12, "symbol": symbol},
            "line": {"color": colour(rank), "width": 2, "dash": "dot"},
            "hovertemplate": "%{text}: %{y:.1%}<extra></extra>",
        }

    made, chance, centre, *more = judged.entries
    traces = [
        trace(made.name, [made], 0, "star"),
        trace("real, by chance", sorted([chance, *more], key=place), 1, "circle"),
        trace("real, by k-center", [centre], 2, "diamond"),
    ]
    return {
        "data": traces,
        "layout": {
            "margin": {"l": 64, "r": 16, "t": 16, "b": 56},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": "var(--ink)", "family": "system-ui, sans-serif"},
            "xaxis": {"title": {"text": title}, "type": "log", "gridcolor": "var(--line)"},
            "yaxis": {
                "title": {"text": "accuracy on val"},
                "tickformat": ".0%",
                "rangemode": "tozero",
                "gridcolor": "var(--line)",
            },
            "legend": {"orientation": "h", "y": 1.12},
        },
    }


def _sheet(entry: Entry, judged: Judged) -> dict[str, Any]:
    """A row of images for each class."""
    classes = judged.distilled.classes
    rows = []
    for label, name in enumerate(classes):
        own = [pixels for pixels, of in zip(entry.pixels, entry.labels.tolist(), strict=True) if of == label]
        rows.append(
            {"name": name, "images": [_png(pixels) for pixels in own[:_SHOWN]], "more": max(0, len(own) - _SHOWN)}
        )
    return {"name": entry.name, "accuracy": words.percent(entry.mean), "rows": rows}


def _png(pixels: Any) -> str:
    image = Image.fromarray(pixels)
    times = max(1, -(-_SIDE // image.width))
    buffer = io.BytesIO()
    image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST).save(buffer, "PNG")
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()
