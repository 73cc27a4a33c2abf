"""What was read from elsewhere and is kept on this disk, within a quota that all processes of a machine share.

    remote/index.sqlite    how many bytes each set of images takes, of which files, and who reads them
    remote/SET/NN/NAME     a file: digests of its stamp and of its content, then its content
    remote/arriving/…      files on their way, named for their writer

A file is entered in the index before it takes its place, so that what is on the disk is never more than what the
index counts; what a killed process entered and never wrote is struck out by the next reader. A file that is cut short
or damaged, or whose stamp is not the one asked for, counts as absent. Reading a kept file does not touch the index.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection

_TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE sets (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, used REAL NOT NULL);
CREATE TABLE files (
    set_name TEXT, name TEXT, bytes INTEGER NOT NULL, writer TEXT, PRIMARY KEY (set_name, name)
) WITHOUT ROWID;
CREATE INDEX written_now ON files (writer) WHERE writer IS NOT NULL;
CREATE TABLE readers (id TEXT PRIMARY KEY, set_name TEXT NOT NULL, pid INTEGER NOT NULL, born REAL NOT NULL);
"""
_DIGEST = 16  # bytes
_WAIT_S = 60  # for another process to let go of the index


class Kept:
    """The files of one set of images that are kept, and room for more; to be closed after use.

    folder: "remote" in the cache folder. set_name: stands for the set; `digest` makes one. quota: bytes that all
    sets together may take, or None without a limit. Safe to use from several threads, not after a fork.
    When there is no room, that of other sets is taken which nobody reads just now, the longest unread first; files of
    this set are never given up for others of it: in an epoch of random order, each is as likely to come next.
    """

    def __init__(self, folder: Path, set_name: str, quota: int | None) -> None:
        """Opens the index, or makes it; raises `OSError` or `sqlite3.Error` where that cannot be done."""
        self.folder, self.set_name, self.quota = folder, set_name, quota
        self._id = secrets.token_hex(8)
        self._lock = threading.Lock()
        (folder / "arriving").mkdir(parents=True, exist_ok=True)
        self._index = _open(folder / "index.sqlite")
        try:
            with self._changing() as index:
                self._settle_the_dead(index)
                used = "INSERT INTO sets VALUES (?, 0, ?) ON CONFLICT DO UPDATE SET used = excluded.used"
                index.execute(used, (set_name, time.time()))
                index.execute("INSERT INTO readers VALUES (?, ?, ?, ?)", (self._id, set_name, os.getpid(), _born()))
        except BaseException:
            self._index.close()
            raise

    def put(self, path: str, stamp: str, content: bytes) -> bool:
        """Keeps a file, and says so; False when there is no room. Raises `OSError` or `sqlite3.Error`."""
        name = digest(path)
        whole = _head(stamp, content) + content
        if not self._make_room(name, len(whole)):
            return False
        arriving = self.folder / "arriving" / f"{self._id}-{secrets.token_hex(8)}"
        place = _place(self.folder, self.set_name, name)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            arriving.write_bytes(whole)
            arriving.replace(place)
        except BaseException:
            with suppress(OSError):
                arriving.unlink()
            with self._changing() as index:
                self._settle(index, self.set_name, name, self._id)
            raise
        return True

    def close(self) -> None:
        """Says that this reader is done: from now on, others may take the room of its set."""
        try:
            with self._changing() as index:
                index.execute("UPDATE files SET writer = NULL WHERE writer = ?", (self._id,))
                index.execute("DELETE FROM readers WHERE id = ?", (self._id,))
                index.execute("UPDATE sets SET used = ? WHERE name = ?", (time.time(), self.set_name))
        finally:
            self._index.close()

    def _make_room(self, name: str, size: int) -> bool:
        """Enters a file of so many bytes in the index, if need be after giving up others."""
        with self._changing() as index:
            row = index.execute(
                "SELECT bytes FROM files WHERE set_name = ? AND name = ?", (self.set_name, name)
            ).fetchone()
            more = size - (row[0] if row else 0)
            (taken,) = index.execute("SELECT SUM(bytes) FROM sets").fetchone()
            over = 0 if self.quota is None else taken + more - self.quota
            if over > 0 and not self._give_up(index, over):
                return False
            index.execute(
                "INSERT INTO files VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET bytes = excluded.bytes, writer = excluded.writer",
                (self.set_name, name, size, self._id),
            )
            index.execute("UPDATE sets SET bytes = bytes + ? WHERE name = ?", (more, self.set_name))
        return True

    def _give_up(self, index: Connection, needed: int) -> bool:
        """Removes so many bytes of sets that nobody reads, the longest unread first; none if they are too few."""
        self._settle_the_dead(index)
        idle = index.execute(
            "SELECT name, bytes FROM sets WHERE bytes > 0 AND name NOT IN (SELECT set_name FROM readers) ORDER BY used"
        ).fetchall()
        if sum(size for _, size in idle) < needed:
            return False
        for set_name, _ in idle:
            one_of_it = "SELECT name, bytes FROM files WHERE set_name = ? LIMIT 1"
            while needed > 0 and (row := index.execute(one_of_it, (set_name,)).fetchone()):
                name, size = row
                place = _place(self.folder, set_name, name)
                place.unlink(missing_ok=True)
                with suppress(OSError):  # until the last of its folder has gone
                    place.parent.rmdir()
                self._enter(index, set_name, name, size, 0)
                needed -= size
        return True

    def _settle_the_dead(self, index: Connection) -> None:
        """Puts right what readers left behind that were killed."""
        for reader, pid, born in index.execute("SELECT id, pid, born FROM readers").fetchall():
            if _lives(pid, born):
                continue
            unsure = index.execute("SELECT set_name, name FROM files WHERE writer = ?", (reader,)).fetchall()
            for set_name, name in unsure:
                self._settle(index, set_name, name, reader)
            index.execute("DELETE FROM readers WHERE id = ?", (reader,))
            for left in (self.folder / "arriving").glob(f"{reader}-*"):
                left.unlink(missing_ok=True)

    def _settle(self, index: Connection, set_name: str, name: str, writer: str) -> None:
        """Makes the index say of a file what is on the disk, unless another writer has entered it since."""
        row = index.execute(
            "SELECT bytes FROM files WHERE set_name = ? AND name = ? AND writer = ?", (set_name, name, writer)
        ).fetchone()
        if row:
            try:
                there = _place(self.folder, set_name, name).stat().st_size
            except OSError:
                there = 0
            self._enter(index, set_name, name, row[0], there)

    def _enter(self, index: Connection, set_name: str, name: str, before: int, after: int) -> None:
        which = (set_name, name)
        if after:
            index.execute("UPDATE files SET bytes = ?, writer = NULL WHERE set_name = ? AND name = ?", (after, *which))
        else:
            index.execute("DELETE FROM files WHERE set_name = ? AND name = ?", which)
        index.execute("UPDATE sets SET bytes = bytes + ? WHERE name = ?", (after - before, set_name))

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """The index, for one change that happens whole or not at all, and alone."""
        with self._lock:
            self._index.execute("BEGIN IMMEDIATE")
            try:
                yield self._index
                self._index.execute("COMMIT")
            except BaseException:
                if self._index.in_transaction:  # a full disk has ended it already
                    self._index.execute("ROLLBACK")
                raise


def read_kept(folder: Path, set_name: str, path: str, stamp: str) -> bytes | None:
    """The content of a kept file, or None where it is not there, not whole, or of another stamp."""
    try:
        whole = _place(folder, set_name, digest(path)).read_bytes()
    except OSError:
        return None
    content = whole[2 * _DIGEST :]
    return content if whole[: 2 * _DIGEST] == _head(stamp, content) else None


def is_kept(folder: Path, set_name: str, path: str, stamp: str, size: int) -> bool:
    """Whether a file of this stamp and size is kept; its content is not read."""
    try:
        with _place(folder, set_name, digest(path)).open("rb") as file:
            same = file.read(_DIGEST) == _short_digest(stamp.encode())
            return same and os.fstat(file.fileno()).st_size == 2 * _DIGEST + size
    except OSError:
        return False


def digest(text: str) -> str:
    """A name for a file or a set: 32 hexadecimal digits."""
    return _short_digest(text.encode("utf-8", "surrogateescape")).hex()


def _short_digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


def _head(stamp: str, content: bytes) -> bytes:
    return _short_digest(stamp.encode()) + _short_digest(content)


def _place(folder: Path, set_name: str, name: str) -> Path:
    return folder / set_name / name[:2] / name


def _open(path: Path) -> Connection:
    """The index at this place; a new one is made beside it, so that two processes cannot both begin one."""
    if not path.exists():
        new = path.with_name(f"{secrets.token_hex(8)}.new")
        try:
            made = _connect(new)
            made.executescript(_TABLES)
            made.close()
            with suppress(FileExistsError):  # another process was first
                os.link(new, path)
        finally:
            new.unlink(missing_ok=True)
    return _connect(path)


def _connect(path: Path) -> Connection:
    index = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    index.execute("PRAGMA synchronous = NORMAL")  # with WAL: a power failure may undo the last changes, no more
    return index


def _born() -> float:
    import psutil

    return float(psutil.Process().create_time())


def _lives(pid: int, born: float) -> bool:
    """Whether a process still runs; a number is used again, a number and a birth are not."""
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - born) < 1 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
