"""The page of an inspection: what is there, what is wrong, with the pictures that show it."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from scrimp.images import Inspection
from scrimp.images.inspection import baseline, duplicates, pictures
from scrimp.images.inspection.kinds import Amount, Leak
from scrimp.images.kinds import SPLITS, Split
from scrimp.report import words
from scrimp.report.html import Tile, asset, render
from scrimp.store import write_whole

_LISTED = 1_000  # lines of a list: beyond, a browser slows down and nobody reads
_PIXELS_SHOW = 64  # px: smaller images are enlarged without smoothing


def write_inspection(inspection: Inspection, path: str | Path, *, title: str | None = None) -> Path:
    """Writes one self-contained HTML file that shows an inspection, and returns where it is.

    The file needs no network and no other file; it appears whole or not at all. title: its heading; by default the
    name of the data. Costs under a second and at most about 5 MB of disk, most of it pictures.
    Raises `StorageError` when the file cannot be written.
    """
    path = Path(path)
    sizes = inspection.sizes
    page = render(
        "inspection.html.j2",
        title=title or words.source_name(inspection.source),
        found=inspection,
        tiles=_tiles(inspection),
        splits=SPLITS,
        mb=_mb,
        near=duplicates.NEAR,
        tiny=duplicates.TINY,
        limits=pictures,
        components=baseline.COMPONENTS,
        listed=_LISTED,
        enlarged=bool(sizes and min(sizes.width.median, sizes.height.median) < _PIXELS_SHOW),
        css=Markup("\n").join((asset("page.css"), asset("inspection.css"))),
    )
    write_whole(path, page.encode())
    return path


def _tiles(found: Inspection) -> list[Tile]:
    """What everybody wants to know first."""
    divided = ", ".join(f"{split} {found.splits[split].images:,}" for split in SPLITS)
    exact, near = len(found.duplicates.exact), len(found.duplicates.near)
    return [
        Tile("images that can be read", f"{found.images:,}", divided),
        _leak_tile(found),
        Tile("unreadable files", f"{len(found.unreadable):,}", f"and {len(found.left_out):,} that were left out"),
        Tile("groups of duplicates", f"{exact + near:,}", f"{exact:,} exact, {near:,} near"),
        _cheapest_tile(found),
        _labels_tile(found),
        Tile("size", words.amount(found.mb, "MB"), "what can be read"),
    ]


def _leak_tile(found: Inspection) -> Tile:
    none = Leak(split="test", other="train", images=found.splits["test"].images, exact=0, near=0)
    leak = next((leak for leak in found.duplicates.leaks if (leak.split, leak.other) == ("test", "train")), none)
    if not leak.images:
        return Tile("test images that are in train", words.UNKNOWN, "there are none in test")
    if leak is none:
        return Tile("test images that are in train", "0", f"of {leak.images:,}")
    note = f"{words.percent(leak.share)} of {leak.images:,}: {leak.exact:,} exact, {leak.near:,} near"
    return Tile("test images that are in train", f"{leak.exact + leak.near:,}", note)


def _cheapest_tile(found: Inspection) -> Tile:
    scores = found.baseline.scores if found.baseline else ()
    best = max(scores, key=lambda score: score.val or 0.0, default=None)  # val chooses here, too
    if best is None:
        return Tile("the cheapest model, test", words.UNKNOWN, "")
    return Tile("the cheapest model, test", words.percent(best.test), f"{best.name}, {words.duration(best.seconds)}")


def _labels_tile(found: Inspection) -> Tile:
    if found.targets is not None:
        train = found.targets.get("train")
        between = f"{words.number(train.least)} to {words.number(train.most)}" if train else words.UNKNOWN
        return Tile("targets in train", between, "from the least to the greatest")
    ratio = found.imbalance.ratio if found.imbalance else None
    if ratio is None:
        note = "one of them without images in train"
    else:
        note = "equally many images in train" if ratio == 1 else f"the largest is {ratio:.1f} times the smallest"
    return Tile("classes", f"{len(found.classes):,}", note)


def _mb(splits: dict[Split, Amount]) -> str:
    """Megabytes of all the splits, without the unit."""
    parts = [amount.mb for amount in splits.values()]
    return words.UNKNOWN if None in parts else words.number(sum(part or 0.0 for part in parts))
