"""Three ways to read files that lie elsewhere: all copied first, each when needed, or kept on disk once read."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from scrimp.errors import NotFound, StorageError
from scrimp.progress import bar
from scrimp.store.files import cache_folder, describe, read_bytes
from scrimp.store.kept import Kept, digest, is_kept, read_kept
from scrimp.store.parallel import in_order
from scrimp.store.remote import THREADS, ask, endpoint, is_s3, is_uri, known_md5, md5_by_asking, reason

Mode = Literal["copy", "stream", "cache"]


@contextmanager
def reader(
    mode: Mode, cache_bytes: int, root: str, *, sleep: Callable[[float], object] = time.sleep
) -> Iterator[Reader]:
    """A `Reader` of one set of images, for the length of the block; one in every process that reads.

    mode: "stream" reads each file when it is asked for; "cache" also keeps it on disk while `cache_bytes` allow;
    "copy" keeps all of them, whatever their size. root: what the set is called; two roots share no files, and the
    room of one that nobody reads is given to others when it runs short.
    """
    found = Reader(mode, cache_bytes, root, sleep=sleep)
    try:
        yield found
    finally:
        found._close()


class Reader:
    """Reads files, wherever they are, by any number of threads; made by `reader`.

    requests: sent for content, those that failed included. bytes: that arrived. hits: files found on this disk.
    notes: what the user should know, such as that the disk is full.
    """

    def __init__(self, mode: Mode, cache_bytes: int, root: str, *, sleep: Callable[[float], object]) -> None:
        self.root = root
        self.requests = self.bytes = self.hits = 0
        self.notes: list[str] = []
        self._mode, self._quota, self._sleep = mode, cache_bytes, sleep
        self._etags_are_md5 = True
        self._folder: Path | None = None  # where files are kept; found at the first that may be
        self._set_name = digest(f"{endpoint()} {root}")
        self._kept: Kept | None = None
        self._broken = ""  # why nothing more can be kept
        self._began = mode == "stream"
        self._lock = threading.Lock()

    def read(self, path: str, stamp: str = "") -> bytes:
        """The whole file; stamp: its "size date" or "size etag" as it was listed, without which it is not kept.

        Raises `NotFound`, or `StorageError` naming the file when it cannot be read, when it arrives damaged or cut
        short however often it is asked for, or when it has changed since it was listed.
        """
        if not is_uri(path):
            return read_bytes(path)
        folder = self._cache() if stamp.partition(" ")[2] else None
        content = read_kept(folder, self._set_name, path, stamp) if folder else None
        if content is not None:
            with self._lock:
                self.hits += 1
            return content
        content = ask(path, lambda system, inner: self._fetch(system, inner, path, stamp), sleep=self._sleep)
        if folder:
            self._keep(path, stamp, content)
        return content

    def copy(self, files: Mapping[str, str]) -> None:
        """Takes everything down, if that is the mode; files: the stamp of each path, as for `read`.

        What was taken down before stays; raises `StorageError` before the first byte when the disk has too little
        room. A file that is no longer there is passed over: reading it will tell.
        """
        elsewhere = {path: stamp for path, stamp in files.items() if is_uri(path)}
        if self._mode != "copy" or not elsewhere:
            return
        folder = self._cache()
        if folder is None:
            raise self._cannot_copy()
        missing = [
            (path, stamp)
            for path, stamp in elsewhere.items()
            if not is_kept(folder, self._set_name, path, stamp, _size(stamp))
        ]
        wanted, free = sum(_size(stamp) for _, stamp in missing), shutil.disk_usage(folder).free
        if wanted > free:
            raise StorageError(
                f"Copying '{self.root}' to '{folder}' needs {wanted / 1e9:,.2f} GB for {len(missing):,} files, and "
                f"{free / 1e9:,.2f} GB are free: set SCRIMP_CACHE to a folder with more room, or read by --remote "
                "cache or stream."
            )

        def take(file: tuple[str, str]) -> None:
            with suppress(NotFound):
                self.read(*file)
            if self._broken:
                raise self._cannot_copy()

        with bar(f"copying {self.root}", len(missing)) as advance:
            for _ in in_order(take, missing, THREADS):
                advance(1, f"{self.bytes / 1e6:,.1f} MB")

    def told(self) -> list[str]:
        """What was read from where, and the notes; nothing when no file was anywhere else."""
        if not self.requests + self.hits:
            return self.notes
        done = f"{self.requests:,} requests ({self.bytes / 1e6:,.1f} MB) and {self.hits:,} files kept on this disk"
        return [f"Read from {self.root} by remote={self._mode}: {done}.", *self.notes]

    def _fetch(self, system: Any, inner: str, path: str, stamp: str) -> bytes:
        with self._lock:
            self.requests += 1
        content: bytes = system.cat_file(inner)
        with self._lock:
            self.bytes += len(content)
        self._check(content, path, stamp)
        return content

    def _check(self, content: bytes, path: str, stamp: str) -> None:
        """Raises what `ask` takes for a dropped connection when this is not what was listed."""
        size, _, mark = stamp.partition(" ")
        expected = known_md5(path, mark) if self._etags_are_md5 else None
        actual = hashlib.md5(content, usedforsecurity=False).hexdigest() if expected else None
        short = size.isdigit() and len(content) != int(size)
        if not short and actual == expected:
            return
        now = describe(path)
        if now and stamp != f"{now.size} {now.stamp}":
            raise StorageError(f"'{path}' has changed since it was listed: start again, so that it is listed anew.")
        if short:
            raise ConnectionError(f"{len(content):,} of {int(size):,} bytes arrived")
        told = md5_by_asking(path) if is_s3(path) else expected
        if told not in (actual, None):
            raise ConnectionError(f"what arrived has the MD5 {actual}, not {told}")
        self._etags_are_md5 = False  # this bucket encrypts

    # ---------------------------------------------------------------- what is kept

    def _cache(self) -> Path | None:
        """Where files are kept; None when they are not."""
        with self._lock:
            if not self._began:
                self._began = True
                quota = self._quota if self._mode == "cache" else None
                try:
                    folder = cache_folder() / "remote"
                    self._folder = folder
                    self._kept = Kept(folder, self._set_name, quota)
                except (OSError, sqlite3.Error) as error:
                    self._stop_keeping(error)
        return self._folder

    def _keep(self, path: str, stamp: str, content: bytes) -> None:
        if self._kept is None or self._broken:
            return
        try:
            self._kept.put(path, stamp, content)
        except (OSError, sqlite3.Error) as error:
            with self._lock:
                self._stop_keeping(error)

    def _stop_keeping(self, error: Exception) -> None:
        """What is kept already goes on being read; told once."""
        if not self._broken:
            self._broken = str(error).rstrip(".") if isinstance(error, StorageError) else reason(error)
            where = f" in '{self._folder}'" if self._folder else ""
            self.notes.append(f"{self.root} is fetched whenever needed: none of it can be kept{where}: {self._broken}.")

    def _cannot_copy(self) -> StorageError:
        where = f" to '{self._folder}'" if self._folder else ""
        return StorageError(f"'{self.root}' cannot be copied{where}: {self._broken}.")

    def _close(self) -> None:
        if self._kept is not None:
            with suppress(OSError, sqlite3.Error):  # as after a kill, the next reader puts it right
                self._kept.close()


def _size(stamp: str) -> int:
    size = stamp.partition(" ")[0]
    return int(size) if size.isdigit() else 0
