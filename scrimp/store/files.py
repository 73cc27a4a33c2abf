"""Files here and at a URI: listing, reading and writing them whole; and the cache folder."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote

from scrimp.errors import NotFound, StorageError
from scrimp.store.parallel import in_order
from scrimp.store.remote import THREADS, ask, failure, is_uri, reason, stamp_of

NO_FILE = "neither a file nor a link to one"
"""Why what has no size is passed over."""


class File(NamedTuple):
    """A file that a listing found.

    key: its name relative to the listed folder, with "/" on every system. path: the whole path or URI.
    size: bytes, or None for what is no file, such as a link that leads nowhere.
    stamp: changes with the content (mtime in ns, etag).
    """

    key: str
    path: str
    size: int | None
    stamp: str


def join(root: str, key: str) -> str:
    """A path or URI below a folder."""
    return f"{root.rstrip('/')}/{key}" if is_uri(root) else os.path.join(root, *key.split("/"))  # noqa: PTH118


def list_files(root: str | Path) -> list[File]:
    """Every file below a folder, at any depth, sorted by key.

    Links are followed, but never into a folder that is already open above. Raises `NotFound` where there
    is no such folder, `StorageError` where one cannot be read. Cost: one stat per file; one request per 1,000
    files of a bucket, one per file of a page of links.
    """
    if is_uri(root):
        return _list_uri(str(root))
    folder = Path(root)
    if not folder.is_dir():
        raise NotFound(f"No folder at '{root}'.")
    return sorted(_walk(str(folder)))


def list_folders(root: str | Path) -> list[str]:
    """The names of the folders directly in a folder, sorted; object stores know no empty ones."""
    if is_uri(root):
        found = ask(str(root), lambda system, path: system.ls(path, detail=True))
        names = [_last(entry["name"]) for entry in found if entry["type"] == "directory"]
        return sorted(map(unquote, names) if is_web(str(root)) else names)
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if _is_folder(entry))
    except OSError as error:
        raise failure(str(root), error) from None


def describe(path: str | Path) -> File | None:
    """One file, or None where there is none; its key is its last name."""
    try:
        if not is_uri(path):
            status = os.stat(path)  # noqa: PTH116 - one call, no Path object for each of a million files
            name = os.path.basename(path)  # noqa: PTH119
            if not stat.S_ISREG(status.st_mode):
                return None
            return File(name, str(path), status.st_size, str(status.st_mtime_ns))
        found = ask(str(path), lambda system, inner: system.info(inner))
        return File(_last(str(path)), str(path), found["size"], stamp_of(found)) if found["type"] == "file" else None
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise failure(str(path), error) from None


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder at this path or URI."""
    if not is_uri(path):
        return os.path.isdir(path)  # noqa: PTH112
    return bool(ask(str(path), lambda system, inner: system.isdir(inner)))


def read_bytes(path: str | Path) -> bytes:
    """The whole file. Raises `NotFound`, or `StorageError` where it cannot be read."""
    with open_bytes(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise failure(str(path), error) from None


def open_bytes(path: str | Path) -> BinaryIO:
    """The file, open for reading; one from a URI is fetched whole. Raises as `read_bytes` does."""
    if is_uri(path):
        return io.BytesIO(ask(str(path), lambda system, inner: system.cat_file(inner)))
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise failure(str(path), error) from None


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all, even if the power fails; makes its folder.

    Raises `StorageError` naming the file. Costs one flush to disk.
    """
    if is_uri(path):  # an object store shows whole objects only
        ask(str(path), lambda system, inner: system.pipe_file(inner, content), "written")
        return
    try:
        _write_local(Path(path), content)
    except OSError as error:
        raise StorageError(f"'{path}' cannot be written: {reason(error)}.") from None


def cache_folder() -> Path:
    """The folder for what can be made again (packs, weights, data sets): SCRIMP_CACHE, or the system's usual.

    It is made if need be, and a byte is written to see that one can. Raises `StorageError` when not.
    """
    chosen = os.environ.get("SCRIMP_CACHE")
    folder = Path(chosen).expanduser() if chosen else _usual_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
            probe.flush()
    except OSError as error:
        raise StorageError(
            f"The cache folder '{folder}' cannot be written: {reason(error)}. Set SCRIMP_CACHE to a folder that can."
        ) from None
    return folder


def _usual_cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("scrimp", appauthor=False)


# ---------------------------------------------------------------- the local disk


def _walk(root: str) -> list[File]:
    found: list[File] = []
    pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(root, "", frozenset())]
    while pending:
        folder, prefix, above = pending.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116
            here = (status.st_dev, status.st_ino)
            if here in above:  # a link back to a folder that we are inside of
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _is_folder(entry):
                        pending.append((entry.path, f"{prefix}{entry.name}/", above | {here}))
                    else:
                        found.append(_file(entry, prefix))
        except OSError as error:
            raise failure(folder, error) from None
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _file(entry: os.DirEntry[str], prefix: str) -> File:
    try:
        status = entry.stat()
    except PermissionError:
        raise
    except OSError:  # a link that leads nowhere or to itself, or a file that has just gone
        return File(prefix + entry.name, entry.path, None, "")
    size = status.st_size if stat.S_ISREG(status.st_mode) else None  # a pipe would be waited for, for ever
    return File(prefix + entry.name, entry.path, size, str(status.st_mtime_ns))


def _write_local(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    neighbour = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with neighbour.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    except BaseException:
        with suppress(OSError):
            neighbour.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last too; where the system cannot do this to a folder, the file itself is safe."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---------------------------------------------------------------- everything else


def _list_uri(root: str) -> list[File]:
    def find(system: Any, inner: str) -> list[File]:
        if not system.isdir(inner):
            raise NotFound(f"No folder at '{root}'.")
        # Of the web, a folder is a page of links; one that cannot be read must not pass for an empty one.
        found = system.find(inner, detail=True, **({"on_error": "raise"} if is_web(root) else {}))
        base = str(system._strip_protocol(inner)).rstrip("/") + "/"
        entries = {str(name).removeprefix(base): entry for name, entry in found.items() if entry.get("type") == "file"}
        keys = [key for key in entries if key and not key.endswith("/")]  # "a/" stands for an empty folder
        return [File(key, join(root, key), entries[key]["size"], stamp_of(entries[key])) for key in keys]

    files = ask(root, find)
    if is_web(root):  # such pages tell no sizes
        told = in_order(describe, [file.path for file in files], THREADS)
        sized = [(file, one) for file, one in zip(files, told, strict=True) if one is not None]
        files = [File(unquote(file.key), file.path, one.size, one.stamp) for file, one in sized]
    return sorted(files)


def is_web(root: str) -> bool:
    """Whether this is a page of links, which few servers give."""
    return root.lower().startswith(("http://", "https://"))


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]
