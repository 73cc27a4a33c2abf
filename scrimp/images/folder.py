"""Class folders, alone or below train, val and test folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from scrimp import store
from scrimp.errors import ImageError
from scrimp.images.found import IMAGE_SUFFIXES, SPLIT_WORDS, Found
from scrimp.images.kinds import LeftOut, Split

IGNORED = {"thumbs.db", "desktop.ini", "__macosx"}
"""What systems leave lying about, besides names that start with a dot."""


def read_folder(root: str) -> Found:
    """The images below a folder, labelled by the folder that they are in; nothing is decoded.

    Raises `ImageError` when there are no images, or none in class folders. Cost: one stat per file.
    """
    found = Found()
    files = [file for file in store.list_files(root) if not _ignored(file.key)]
    images = []
    for file in files:
        if file.size is None:
            found.left_out.append(LeftOut(file.key, "a link that leads nowhere"))
        elif not is_image_name(file.key):
            found.left_out.append(LeftOut(file.key, "not an image file"))
        else:
            images.append(file)
    if not images:
        raise ImageError(_nothing_here(root, [file.key for file in files]))
    divided = _is_divided({file.key.split("/", 1)[0] for file in images if "/" in file.key})
    _label(found, images, divided)
    if not found.items:
        raise ImageError(_no_class_folders(root, found, divided))
    _tell_empty_folders(found, root, divided)
    return found


def is_image_name(key: str) -> bool:
    """Whether a name ends like that of an image, in either case."""
    return key.rpartition(".")[2].lower() in IMAGE_SUFFIXES


def _label(found: Found, images: Iterable[store.File], divided: bool) -> None:
    for file in images:
        parts = file.key.split("/")
        given: Split | Literal[""] = ""
        if divided:
            word = SPLIT_WORDS.get(parts[0].lower())
            if word is None:
                found.left_out.append(LeftOut(file.key, "not in a train, val or test folder"))
                continue
            given, parts = word, parts[1:]
        if len(parts) < 2:
            found.left_out.append(LeftOut(file.key, "not in a class folder"))
            continue
        found.add(file.path, file.key, parts[0], given, f"{file.size} {file.stamp}")


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


def _tell_empty_folders(found: Found, root: str, divided: bool) -> None:
    tops = [name for name in store.list_folders(root) if not _ignored(name)]
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
