"""Bytes from a disk or from anywhere that fsspec reaches ("s3://…", "memory://…"), and the cache folder."""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from scrimp.errors import MissingExtra, NotFound, ScrimpError, SettingError, StorageError

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


class File(NamedTuple):
    """A file that a listing found.

    key: its name relative to the listed folder, with "/" on every system. path: the whole path or URI.
    size: bytes, or None for a link that leads nowhere. stamp: changes with the content (mtime in ns, etag).
    """

    key: str
    path: str
    size: int | None
    stamp: str


def is_uri(path: str | Path) -> bool:
    """Whether this is a URI ("s3://bucket/key") and not a path on this machine."""
    return isinstance(path, str) and _URI.match(path) is not None


def join(root: str, key: str) -> str:
    """A path or URI below a folder."""
    return f"{root.rstrip('/')}/{key}" if is_uri(root) else os.path.join(root, *key.split("/"))  # noqa: PTH118


def list_files(root: str | Path) -> list[File]:
    """Every file below a folder, at any depth, sorted by key.

    Links are followed, but never into a folder that is already open above. Raises `NotFound` where there
    is no such folder, `StorageError` where one cannot be read. Cost: one stat per file.
    """
    if is_uri(root):
        return _list_uri(str(root))
    folder = Path(root)
    if not folder.is_dir():
        raise NotFound(f"No folder at '{root}'.")
    return sorted(_walk(str(folder)))


def list_folders(root: str | Path) -> list[str]:
    """The names of the folders directly in a folder, sorted; object stores know no empty ones."""
    try:
        if is_uri(root):
            system, path = _system(str(root))
            found = system.ls(path, detail=True)
            return sorted(_last(entry["name"]) for entry in found if entry["type"] == "directory")
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError as error:
        raise _unreadable(str(root), error) from None


def describe(path: str | Path) -> File | None:
    """One file, or None where there is none; its key is its last name."""
    try:
        if not is_uri(path):
            status = os.stat(path)  # noqa: PTH116 - one call, no Path object for each of a million files
            name = os.path.basename(path)  # noqa: PTH119
            if not stat.S_ISREG(status.st_mode):
                return None
            return File(name, str(path), status.st_size, str(status.st_mtime_ns))
        system, inner = _system(str(path))
        found = system.info(inner)
        return File(_last(inner), str(path), found["size"], _stamp(found)) if found["type"] == "file" else None
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise _unreadable(str(path), error) from None


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder at this path or URI."""
    if not is_uri(path):
        return os.path.isdir(path)  # noqa: PTH112
    system, inner = _system(str(path))
    try:
        return bool(system.isdir(inner))
    except OSError as error:
        raise _unreadable(str(path), error) from None


def read_bytes(path: str | Path) -> bytes:
    """The whole file. Raises `NotFound`, or `StorageError` where it cannot be read."""
    with open_bytes(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise _unreadable(str(path), error) from None


def open_bytes(path: str | Path) -> BinaryIO:
    """The file, open for reading; one from a URI is fetched whole. Raises as `read_bytes` does."""
    try:
        if not is_uri(path):
            return Path(path).open("rb")
        system, inner = _system(str(path))
        return io.BytesIO(system.cat_file(inner))
    except OSError as error:
        raise _unreadable(str(path), error) from None


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all, even if the power fails; makes its folder.

    Raises `StorageError` naming the file. Costs one flush to disk.
    """
    try:
        if is_uri(path):
            system, inner = _system(str(path))
            system.pipe_file(inner, content)  # one PUT: an object store shows whole objects only
        else:
            _write_local(Path(path), content)
    except ScrimpError:
        raise
    except OSError as error:
        raise StorageError(f"'{path}' cannot be written: {_reason(error)}.") from None


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
            f"The cache folder '{folder}' cannot be written: {_reason(error)}. Set SCRIMP_CACHE to a folder that can."
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
                    if entry.is_dir():
                        pending.append((entry.path, f"{prefix}{entry.name}/", above | {here}))
                    else:
                        found.append(_file(entry, prefix))
        except OSError as error:
            raise _unreadable(folder, error) from None
    return found


def _file(entry: os.DirEntry[str], prefix: str) -> File:
    try:
        status = entry.stat()
    except FileNotFoundError:  # a link that leads nowhere, or a file that has just gone
        return File(prefix + entry.name, entry.path, None, "")
    return File(prefix + entry.name, entry.path, status.st_size, str(status.st_mtime_ns))


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


# ---------------------------------------------------------------- everything else, by fsspec


def _system(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path inside it."""
    import fsspec  # costs 50 ms, so only where a URI is used

    try:
        system, path = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        if uri.startswith(("s3://", "s3a://")):
            raise MissingExtra(f"'{uri}'", "s3") from None
        raise StorageError(f"'{uri}' cannot be reached: {error}.") from None
    except ValueError as error:
        raise SettingError(f"'{uri}' cannot be reached: {error}.") from None
    return system, path


def _list_uri(root: str) -> list[File]:
    try:
        system, inner = _system(root)
        if not system.isdir(inner):
            raise NotFound(f"No folder at '{root}'.")
        found = system.find(inner, detail=True)
    except ScrimpError:
        raise
    except OSError as error:
        raise _unreadable(root, error) from None
    base = str(system._strip_protocol(inner)).rstrip("/") + "/"
    keys = {str(name).removeprefix(base): entry for name, entry in found.items() if str(name) != base}
    return sorted(File(key, join(root, key), entry["size"], _stamp(entry)) for key, entry in keys.items())


def _stamp(entry: dict[str, Any]) -> str:
    """What an fsspec entry has that changes with its content; stores differ in what they call it."""
    names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
    return next((str(entry[name]) for name in names if entry.get(name) is not None), "")


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


# ---------------------------------------------------------------- wording


def _unreadable(path: str, error: OSError) -> ScrimpError:
    if isinstance(error, ScrimpError):
        return error
    if isinstance(error, FileNotFoundError):
        return NotFound(f"Nothing at '{path}'.")
    return StorageError(f"'{path}' cannot be read: {_reason(error)}.")


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk full"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is in the way"
    return (error.strerror or str(error) or type(error).__name__).lower()
