"""Class folders, alone or below train, val and test folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from scrimp import store
from scrimp.errors import ImageError
from scrimp.images.boxes import ANNOTATION_FOLDERS, Box, Drawn, annotation_folder, read_annotations
from scrimp.images.found import IMAGE_SUFFIXES, SPLIT_WORDS, Found
from scrimp.images.imagenet import SOLUTION, classes_of_val, tree_of
from scrimp.images.kinds import LeftOut, Split
from scrimp.images.lists import find_lists, read_lists

IGNORED = {"thumbs.db", "desktop.ini", "__macosx"}
"""What systems leave lying about, besides names that start with a dot."""

IMAGE_FOLDERS = ("Images", "images")
"""What the folder of class folders is called where annotations or lists lie beside it."""


def read_folder(source: str, *, boxes: Literal["voc"] | None = None) -> Found:
    """The images below a folder, labelled by the folder that they are in; nothing is decoded.

    A folder that holds both Images/ and an annotation folder, or lists of training and test images, is read at
    Images/. Such lists are honoured. ImageNet is read as it comes, its val labelled by class folders or by
    LOC_val_solution.csv. boxes: "voc" to read what the annotation files say.
    Raises `ImageError` when there are no images, none in class folders, or no annotation files where boxes
    were asked for. Cost: one stat per file; with boxes, one small file read per image.
    """
    root, above = _tree(tree_of(source))
    found = Found()
    files = [file for file in store.list_files(root) if not _ignored(file.key)]
    images = [file for file in files if file.size is not None and is_image_name(file.key)]
    if not images:
        raise ImageError(_nothing_here(root, [file.key for file in files]))
    others = [file for file in files if file.size is not None and not is_image_name(file.key)]
    drawn = read_annotations(images, others, above) if boxes else Drawn()
    if boxes and not drawn.used:
        raise ImageError(_no_annotations(root, images[0].key, above))
    found.left_out += [LeftOut(file.key, store.NO_FILE) for file in files if file.size is None]
    found.left_out += [LeftOut(file.key, "not an image file") for file in others if file.path not in drawn.used]
    if root != source:
        found.notes.append(_read_at(root, above, boxes))
    found.notes += drawn.notes
    divided = _is_divided({file.key.split("/", 1)[0] for file in images if "/" in file.key})
    lists = find_lists(above) if above and _last(root) in IMAGE_FOLDERS else {}
    listed: Mapping[str, Split] = {}
    if lists:
        listed, notes = read_lists(lists, [file.key for file in images])
        found.notes += notes
    loose = divided and any(file.key.count("/") == 1 for file in images)
    _label(found, images, divided, listed, drawn, classes_of_val(root) if loose else {})
    if not found.items and drawn.unreadable:
        raise ImageError(f"No annotation file for '{root}' is of use: {next(iter(drawn.unreadable.values()))}")
    if not found.items:
        raise ImageError(_no_class_folders(root, found, divided))
    _tell_empty_folders(found, root, divided, drawn)
    return found


def is_image_name(key: str) -> bool:
    """Whether a name ends like that of an image, in either case."""
    return key.rpartition(".")[2].lower() in IMAGE_SUFFIXES


def _tree(source: str) -> tuple[str, str | None]:
    """The folder of class folders, and the one in which annotations and lists lie beside it."""
    inner = next((path for name in IMAGE_FOLDERS if store.is_folder(path := store.join(source, name))), None)
    if inner is not None and (annotation_folder(source) or find_lists(source)):
        return inner, source
    if not store.is_uri(source):
        return source, os.path.dirname(os.path.abspath(source))  # noqa: PTH100, PTH120
    above = source.rstrip("/").rpartition("/")[0]
    return source, above if store.is_uri(above) else None


def _last(root: str) -> str:
    whole = root if store.is_uri(root) else os.path.abspath(root).replace(os.sep, "/")  # noqa: PTH100
    return whole.rstrip("/").rpartition("/")[2]


def _label(
    found: Found,
    images: Iterable[store.File],
    divided: bool,
    listed: Mapping[str, Split],
    drawn: Drawn,
    solved: Mapping[str, str],
) -> None:
    """solved: the class of images that lie in no class folder, by their names without a suffix."""
    unlabelled = 0
    for file in images:
        parts = file.key.split("/")
        given: Split | Literal[""] = listed.get(file.key, "")
        if listed and not given:
            found.left_out.append(LeftOut(file.key, "in neither the training nor the test list"))
            continue
        if divided:
            word = SPLIT_WORDS.get(parts[0].lower())
            if word is None:
                found.left_out.append(LeftOut(file.key, "not in a train, val or test folder"))
                continue
            given, parts = word, parts[1:]
        if len(parts) < 2 and solved:
            label = solved.get(parts[0].rpartition(".")[0])
            unlabelled += label is None
            parts = [label, *parts] if label else parts
            if label is None and given == "test":  # ImageNet's test images have no labels, and there are 100,000
                continue
        if len(parts) < 2:
            found.left_out.append(LeftOut(file.key, "not in a class folder"))
            continue
        if file.key in drawn.unreadable:
            found.left_out.append(LeftOut(file.key, drawn.unreadable[file.key]))
            continue
        boxes: list[Box] | list[None] = drawn.boxes.get(file.key) or [None]
        for box in boxes:
            found.add(file.path, file.key, parts[0], given, f"{file.size} {file.stamp}", box)
    if solved:
        told = f"{SOLUTION} says the classes of images that lie in no class folder"
        found.notes.append(f"{told}; {unlabelled:,} such images are not in it." if unlabelled else f"{told}.")


def _is_divided(folders: set[str]) -> bool:
    """Whether the folders are splits, not classes: "train" has company, or is all there is.

    "train" beside "bus" and "car" is a class of vehicles.
    """
    words = {SPLIT_WORDS.get(name.lower()) for name in folders}
    if not folders:
        return False
    return words <= {*SPLIT_WORDS.values()} or {"train", "test"} <= words or {"train", "val"} <= words


def _ignored(key: str) -> bool:
    return any(part.startswith(".") or part.lower() in IGNORED for part in key.split("/"))


def _tell_empty_folders(found: Found, root: str, divided: bool, drawn: Drawn) -> None:
    tops = [name for name in store.list_folders(root) if not _ignored(name)]
    if drawn.used:
        tops = [name for name in tops if name not in ANNOTATION_FOLDERS]
    seen = {key.rpartition("/")[0] for key in found.keys}
    seen |= {folder.rsplit("/", n)[0] for folder in seen for n in range(1, folder.count("/") + 1)}
    folders = tops
    if divided:
        splits = [name for name in tops if name.lower() in SPLIT_WORDS]
        folders = [
            f"{name}/{inner}"
            for name in splits
            for inner in store.list_folders(store.join(root, name))
            if not _ignored(inner)
        ]
    found.left_out += [LeftOut(name, "no images") for name in folders if name not in seen]


# ---------------------------------------------------------------- wording


def _read_at(root: str, above: str | None, boxes: str | None) -> str:
    annotations = None if boxes else annotation_folder(above)
    hint = f" boxes='voc' (--boxes voc) would crop them to the boxes in '{annotations}'." if annotations else ""
    return f"The images are those in '{root}'.{hint}"


def _no_annotations(root: str, key: str, above: str | None) -> str:
    stem = key.rpartition(".")[0]
    beside = f" or in '{store.join(above, ANNOTATION_FOLDERS[0])}' (or {ANNOTATION_FOLDERS[1]}) beside" if above else ""
    return (
        f"No Pascal-VOC annotation file belongs to any image in '{root}'. Looked for '{store.join(root, stem)}.xml' "
        f"and so on, next to the images, and for '{stem}' or '{stem}.xml' in an annotation folder there{beside}."
    )


def _nothing_here(root: str, keys: list[str]) -> str:
    kinds = Counter(f".{key.rpartition('.')[2].lower()}" for key in keys if "." in key.rpartition("/")[2])
    most = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(3))
    what = f"{len(keys):,} file{'s' * (len(keys) != 1)}, none of them an image" if keys else "it is empty"
    told = f"{what} ({most})" if most else what
    return f"No images in '{root}': {told}. Images end in {', '.join(IMAGE_SUFFIXES)}."


def _no_class_folders(root: str, found: Found, divided: bool) -> str:
    loose = sum(entry.reason == "not in a class folder" for entry in found.left_out)
    where = f"{root.rstrip('/')}/train" if divided else root.rstrip("/")
    return (
        f"'{root}' holds {loose:,} image{'s' * (loose != 1)} but no class folders. Put the images of each "
        f"class in a folder named for it ('{where}/cat/1.jpg'), or list them in a CSV manifest: path,label."
    )
