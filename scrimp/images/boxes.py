"""Boxes drawn around what an image is of: read from Pascal-VOC XML, checked, and widened by a margin."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from scrimp import store
from scrimp.errors import ImageError, NotFound

ANNOTATION_FOLDERS = ("Annotation", "Annotations", "annotation", "annotations")
"""What the folder of annotation files beside an image tree is called."""

_EDGES = ("xmin", "ymin", "xmax", "ymax")


class Box(NamedTuple):
    """Edges in pixels from the top left corner of the upright image; x1 and y1 lie just outside.

    image_size: width and height of the image that it was drawn on, where that is known.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    image_size: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"({self.x0:g}, {self.y0:g}, {self.x1:g}, {self.y1:g})"

    @property
    def extent(self) -> float:
        """Square pixels, also of a reversed box, so that "largest" does not pass over one in silence."""
        return abs(self.x1 - self.x0) * abs(self.y1 - self.y0)


def part_of_image(box: Box, margin: float, size: tuple[int, int], item: str) -> tuple[float, float, float, float]:
    """The box with `margin` percent of its width and height on each side, as far as the image goes.

    size: width and height of the whole upright image. item: the image's name, for the error.
    Raises `ImageError` where the box is reversed, empty or reaches outside, all to whole pixels, or was drawn
    on an image of another size.
    """
    x0, y0, x1, y1, drawn_on = box
    width, height = size
    wrong = ""
    if drawn_on is not None and drawn_on != size:
        wrong = f"was drawn on {drawn_on[0]:,} x {drawn_on[1]:,} pixels"
    elif x1 < x0 or y1 < y0:
        wrong = "is reversed"
    elif round(x0) == round(x1) or round(y0) == round(y1):
        wrong = "is empty"
    elif round(x0) < 0 or round(y0) < 0 or round(x1) > width or round(y1) > height:
        wrong = "reaches outside"
    if wrong:
        raise ImageError(f"'{item}' is left out: its box {box} {wrong}, and the image has {width:,} x {height:,}.")
    dx, dy = (x1 - x0) * margin / 100, (y1 - y0) * margin / 100
    return max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy)


def pick(boxes: Sequence[Box], how: Literal["first", "largest", "each"]) -> list[int]:
    """Which of an image's boxes are used; of several that are largest, the first."""
    if how == "each":
        return list(range(len(boxes)))
    return [0 if how == "first" else max(range(len(boxes)), key=lambda n: boxes[n].extent)]


# ---------------------------------------------------------------- annotation files


@dataclass
class Drawn:
    """What the annotation files of some images say.

    boxes: by the key of the image, in the order of the file. unreadable: by the key, why its file is no help.
    used: the paths of the files that belong to an image. notes: what else the user should know.
    """

    boxes: dict[str, list[Box]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def read_annotations(images: Sequence[store.File], others: Iterable[store.File], above: str | None) -> Drawn:
    """The boxes of images from Pascal-VOC XML: "beagle/1.xml" next to "beagle/1.jpg", or in an annotation folder.

    others: what else lies in the folder of the images. above: the folder where an annotation folder may lie
    beside it, holding "beagle/1.xml" or "beagle/1"; one among `others` will do as well.
    Cost: one listing, and one small file read per image.
    """
    folder = annotation_folder(above)
    beside = [file for file in store.list_files(folder) if "/." not in f"/{file.key}"] if folder else []
    by_stem = {_stem(file.key): file for file in beside}
    for file in others:
        first, _, rest = file.key.partition("/")
        if first in ANNOTATION_FOLDERS and rest:
            by_stem.setdefault(_stem(rest), file)
    by_stem |= {_stem(file.key): file for file in others if file.key.lower().endswith(".xml")}
    pairs = [(image.key, by_stem.get(image.key.rpartition(".")[0])) for image in images]
    files = {key: file.path for key, file in pairs if file is not None}
    drawn = Drawn(used=set(files.values()))
    empty = []
    every = store.in_order(_read_or_tell, files.values(), store.THREADS)
    for (key, path), read in zip(files.items(), every, strict=True):
        if isinstance(read, str):
            drawn.unreadable[key] = read
        else:
            drawn.boxes[key] = read
            empty += [path] if not read else []
    strays = [file.path for file in beside if file.path not in drawn.used]
    if empty:
        drawn.notes.append(f"{len(empty):,} of {len(files):,} annotation files hold no object: {some(empty)}.")
    if strays:
        drawn.notes.append(f"{len(strays):,} of {len(beside):,} annotation files belong to no image: {some(strays)}.")
    return drawn


def read_voc(path: str) -> list[Box]:
    """The boxes of one Pascal-VOC file, in its order; their parts, such as heads and hands, are not looked at.

    Raises `ImageError` naming the file where it is not well-formed, has a DOCTYPE (which annotation files do
    not need, and XML bombs do), is another kind of XML, or has an object without a box of four numbers.
    """
    root = _parse(store.read_bytes(path), path)
    if root.tag != "annotation":
        raise ImageError(f"'{path}' is not Pascal-VOC: it holds <{root.tag}>, not <annotation>.")
    size = _image_size(root, path)
    return [_box(thing, number, size, path) for number, thing in enumerate(root.findall("object"), 1)]


def some(names: Sequence[str]) -> str:
    """The first few of some names, as they stand in a sentence."""
    return ", ".join(f"'{name}'" for name in names[:5]) + (", …" if len(names) > 5 else "")


def annotation_folder(above: str | None) -> str | None:
    """The folder of annotation files in a folder, if there is one."""
    folders = [store.join(above, name) for name in ANNOTATION_FOLDERS] if above else []
    return next((folder for folder in folders if store.is_folder(folder)), None)


def _stem(key: str) -> str:
    return key[:-4] if key.lower().endswith(".xml") else key


def _read_or_tell(path: str) -> list[Box] | str:
    try:
        return read_voc(path)
    except (ImageError, NotFound) as error:
        return str(error)


def _parse(content: bytes, path: str) -> Element:
    def refuse(*_: object) -> None:
        raise ImageError(f"'{path}' is refused: it has a DOCTYPE, which a Pascal-VOC file does not need.")

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse  # entities, and so bombs, can be declared nowhere else
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
    except ImageError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: of an unknown encoding
        raise ImageError(f"'{path}' is not well-formed XML: {error}.") from None
    return builder.close()


def _image_size(root: Element, path: str) -> tuple[int, int] | None:
    """Width and height, where both are there and not 0, which some tools write for "unknown"."""
    width, height = (root.findtext(f"size/{side}", "").strip() or "0" for side in ("width", "height"))
    size = int(_number(width, "size/width", path)), int(_number(height, "size/height", path))
    return size if all(size) else None


def _box(thing: Element, number: int, size: tuple[int, int] | None, path: str) -> Box:
    texts = [thing.findtext(f"bndbox/{edge}") for edge in _EDGES]
    missing = [edge for edge, text in zip(_EDGES, texts, strict=True) if text is None]
    if missing:
        raise ImageError(f"'{path}' has no bndbox/{missing[0]} in object {number}.")
    x0, y0, x1, y1 = (
        _number(text or "", f"bndbox/{edge} of object {number}", path) for edge, text in zip(_EDGES, texts, strict=True)
    )
    return Box(x0, y0, x1, y1, size)


def _number(text: str, where: str, path: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ImageError(f"'{path}' says '{text.strip()}' in {where}, which is not a number.")
    return number
