"""Sends a folder to a bucket, goes on where an earlier try was broken off, and checks what arrived."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import mimetypes
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from scrimp.cost import Cost, Stopwatch
from scrimp.errors import NotFound, SettingError, StorageError
from scrimp.progress import bar
from scrimp.store.files import NO_FILE, File, join, list_files
from scrimp.store.parallel import in_order
from scrimp.store.remote import ask, is_s3, is_uri, make_bucket, md5_by_asking, reason

_PART = 8 * 2**20  # bytes, as Amazon's own command cuts; what is at least two parts long is sent in parts
_MOST_PARTS = 10_000  # of S3
_LONGEST_KEY = 1024  # bytes, of S3
_THREADS = 32  # each holds less than two parts in memory


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What `push` did.

    files: how many the folder holds. uploaded: sent now, and their bytes. unchanged: were there already.
    unreadable: not sent, each with the reason. cost: the time it took; energy is not measured.
    """

    uri: str
    files: int
    uploaded: int
    bytes: int
    unchanged: int
    unreadable: tuple[tuple[str, str], ...]
    cost: Cost


def push(folder: str | Path, uri: str) -> Pushed:
    """Copies a folder to a bucket, but for what is there already; called again after a break, it goes on.

    uri: such as "s3://bucket/prefix"; a missing bucket is made. Every file keeps its name relative to the folder.
    What has the same size and checksum there is not sent again; what is there and not in the folder stays. At the
    end the bucket is listed and compared, file by file. A file appears whole or not at all. Files that cannot be
    read are passed over and told.

    Raises `NotFound` where there is no such folder, `SettingError` for a URI that cannot be written to,
    `StorageError` naming the file that cannot be sent or has not arrived as it was. Cost: reads every file, those
    over 16 MB twice; a request for each that is sent, or part of it, and for 1,000 that are listed; at most 0.5 GB
    of memory.
    """
    if not is_uri(uri) or uri.lower().startswith(("http://", "https://")):
        raise SettingError(f"'{uri}' cannot be pushed to: give the URI of a bucket, such as s3://bucket/prefix.")
    if is_s3(uri) and not uri.partition("://")[2].partition("/")[0]:
        raise SettingError(f"'{uri}' names no bucket: write it as s3://bucket/prefix.")
    with Stopwatch() as watch:
        files = list_files(folder)
        make_bucket(uri)
        there = _listed(uri)
        results: list[_Result] = []
        try:
            with bar(f"pushing to {uri}", len(files)) as advance:
                for result in in_order(partial(_send, uri, there), files, _THREADS):
                    results.append(result)
                    advance(1, "")
        except (StorageError, NotFound) as error:
            done = f"{len(results):,} of {len(files):,} files are done; the same command goes on from there."
            raise StorageError(f"{error} {done}") from None
        uploaded = [result for result in results if result.sent]
        if uploaded:
            _verify(uri, results)
    return Pushed(
        uri=uri,
        files=len(files),
        uploaded=len(uploaded),
        bytes=sum(result.content.size for result in uploaded if result.content),
        unchanged=sum(result.content is not None and not result.sent for result in results),
        unreadable=tuple((_printable(result.key), result.why_not) for result in results if result.why_not),
        cost=watch.cost,
    )


class _Content(NamedTuple):
    """The size of a file, its MD5, and the etag that S3 gives it when it is sent in parts."""

    size: int
    md5: str
    etag_of_parts: str


class _Result(NamedTuple):
    """What came of one file: why_not is "" where all went well."""

    key: str
    content: _Content | None
    sent: bool = False
    why_not: str = ""


def _send(uri: str, there: dict[str, File], file: File) -> _Result:
    target = join(uri, file.key)
    why_not = _unsendable(file, target)
    if why_not:
        return _Result(file.key, None, why_not=why_not)
    small = (file.size or 0) < 2 * _PART  # and sent as it was read, whatever becomes of the file
    try:
        with Path(file.path).open("rb") as opened:
            body = opened.read() if small else b""
            content = _content_of(io.BytesIO(body) if small else opened)
    except OSError as error:
        return _Result(file.key, None, why_not=reason(error))
    if _same(there.get(file.key), content):
        return _Result(file.key, content)
    extra = _for_s3(target, content) if is_s3(target) else {}

    def put(system: Any, inner: str) -> None:
        """One PUT, or one that joins the parts: a bucket shows whole objects only."""
        if small:
            system.pipe_file(inner, body, **extra)
        else:
            system.put_file(file.path, inner, **extra)

    ask(target, put, "written")
    return _Result(file.key, content, sent=True)


def _unsendable(file: File, target: str) -> str:
    if file.size is None:
        return NO_FILE
    try:
        key = target.split("/", 3)[3].encode()
    except UnicodeEncodeError:
        return "its name is not text"
    if is_s3(target) and ("?versionId=" in file.key or not file.key.isprintable()):
        return "its name cannot be an object's: rename it without control characters and '?versionId='"
    return f"its key has {len(key):,} bytes, and {_LONGEST_KEY:,} are allowed" if len(key) > _LONGEST_KEY else ""


def _printable(key: str) -> str:
    return key.encode(errors="replace").decode()


def _content_of(file: BinaryIO) -> _Content:
    part_size = _part_size(file.seek(0, io.SEEK_END))
    size, whole, parts = file.seek(0), hashlib.md5(usedforsecurity=False), []
    while part := file.read(part_size):
        size += len(part)
        whole.update(part)
        parts.append(hashlib.md5(part, usedforsecurity=False).digest())
    of_parts = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    return _Content(size, whole.hexdigest(), f"{of_parts}-{len(parts)}")


def _part_size(size: int) -> int:
    return max(_PART, math.ceil(size / _MOST_PARTS))


def _for_s3(target: str, content: _Content) -> dict[str, Any]:
    """The server compares the MD5 with what it received; the note of it stands in where an etag is no MD5."""
    kind, _ = mimetypes.guess_type(target)
    return {
        "ContentMD5": base64.b64encode(bytes.fromhex(content.md5)).decode(),
        "Metadata": {"md5": content.md5},
        "ContentType": kind or "application/octet-stream",
        "chunksize": _part_size(content.size),
    }


def _listed(uri: str) -> dict[str, File]:
    try:
        return {file.key: file for file in list_files(uri)}
    except NotFound:
        return {}


def _same(there: File | None, content: _Content) -> bool:
    """Whether an object is what the file is: by its etag, by the MD5 noted with it, or else by reading it."""
    if there is None or there.size != content.size:
        return False
    return there.stamp in (content.md5, content.etag_of_parts) or md5_by_asking(there.path) == content.md5


def _verify(uri: str, results: list[_Result]) -> None:
    there = _listed(uri)
    sent = [(result.key, result.content) for result in results if result.content]
    same = in_order(lambda one: _same(there.get(one[0]), one[1]), sent, _THREADS)
    wrong = [key for (key, _), right in zip(sent, same, strict=True) if not right]
    if wrong:
        raise StorageError(
            f"{len(wrong):,} of {len(sent):,} files are not in '{uri}' as they were sent, the first being "
            f"'{join(uri, wrong[0])}': push again."
        )
