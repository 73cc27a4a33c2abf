"""Names that are no valid text, as file systems allow them, made such that JSON and pages can hold them."""

from __future__ import annotations

from dataclasses import replace

from scrimp.images.kinds import Images, LeftOut


def with_printable_names(images: Images) -> Images:
    """The same images, but what is no valid text in their names is written as \\udcff; the files are still found."""
    return replace(
        images,
        keys=tuple(map(printable, images.keys)),
        classes=tuple(map(printable, images.classes)),
        left_out=tuple(LeftOut(printable(key), printable(reason)) for key, reason in images.left_out),
        notes=tuple(map(printable, images.notes)),
    )


def printable(text: str) -> str:
    """The text, with what is no valid text in it written as an escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
