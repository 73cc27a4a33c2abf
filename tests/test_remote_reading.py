"""Reading files that lie elsewhere: what is asked for, what is kept, and what a break or a damage leaves behind."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from s3_tools import Proxy, client, make_files, md5s

from scrimp import store
from scrimp.errors import NotFound, StorageError
from scrimp.store import remote
from scrimp.store.kept import Kept, digest, read_kept

server = pytest.mark.server
GB = 1_000_000_000


def stamp(file: store.File) -> str:
    return f"{file.size} {file.stamp}"


def read_all(reader: store.Reader, files: list[store.File], threads: int = 16) -> dict[str, str]:
    """Key -> MD5 of what the reader gives."""
    contents = store.in_order(lambda file: reader.read(file.path, stamp(file)), files, threads)
    return {file.key: hashlib.md5(content).hexdigest() for file, content in zip(files, contents, strict=True)}


def on_disk(cache: Path) -> int:
    """Bytes of all files that are kept, and of those on their way, found by looking."""
    folder = cache / "remote"
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "index.sqlite" not in path.name)


def in_index(cache: Path) -> int:
    """Bytes that the index counts, by its sets and by its files, which must agree."""
    index = sqlite3.connect(cache / "remote" / "index.sqlite")
    try:
        (by_sets,), (by_files,) = (
            index.execute(f"SELECT COALESCE(SUM(bytes), 0) FROM {table}").fetchone() for table in ("sets", "files")
        )
        assert by_sets == by_files
        return int(by_sets)
    finally:
        index.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_files(tmp_path / "photos", 40)
    return tmp_path / "photos"


@pytest.fixture
def proxy(s3: str, s3_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """In front of the server, whose bucket holds the folder."""
    store.push(folder, f"{s3}/photos")
    with Proxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def files(s3: str, proxy: Proxy) -> list[store.File]:
    """What lies in the bucket; the proxy has forgotten that it was listed."""
    found = store.list_files(f"{s3}/photos")
    proxy.requests.clear()
    return found


# ---------------------------------------------------------------- three ways


@server
@pytest.mark.parametrize("mode", ["copy", "stream", "cache"])
def test_every_way_reads_the_same(mode: Any, s3: str, proxy: Proxy, files: list[store.File], folder: Path) -> None:
    with store.reader(mode, GB, s3) as reader:
        reader.copy({file.path: stamp(file) for file in files})
        copied = len(proxy.requests)
        assert read_all(reader, files) == read_all(reader, files) == md5s(folder)
    assert copied == (40 if mode == "copy" else 0)
    assert len(proxy.requests) == (80 if mode == "stream" else 40), "one request a file, and none for what is kept"
    assert reader.requests == len(proxy.requests)
    assert reader.bytes == sum(file.size or 0 for file in files) * reader.requests // 40
    assert reader.hits == {"copy": 80, "stream": 0, "cache": 40}[mode]
    assert reader.notes == []
    assert f"{reader.requests} requests" in reader.told()[0]


@server
def test_room_for_all_asks_nothing_the_second_time(
    s3: str, proxy: Proxy, files: list[store.File], folder: Path, own_cache: Path
) -> None:
    for _ in range(2):
        with store.reader("cache", GB, s3) as reader:
            assert read_all(reader, files) == md5s(folder)
    assert len(proxy.requests) == 40, "all in the first epoch"
    assert on_disk(own_cache) == in_index(own_cache)


@server
def test_room_for_half_hits_half_in_random_order(
    s3: str, s3_server: str, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three caches, each for three epochs; what is asked for is counted at the server."""
    make_files(tmp_path / "many", 200, size=8000)
    store.push(tmp_path / "many", s3)
    files, expected = store.list_files(s3), md5s(tmp_path / "many")
    quota = sum(file.size or 0 for file in files) // 2
    with Proxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        for seed in range(3):
            order, asked = random.Random(seed), []
            monkeypatch.setenv("SCRIMP_CACHE", str(own_cache / str(seed)))
            for _ in range(3):
                order.shuffle(files)
                proxy.requests.clear()
                with store.reader("cache", quota, s3) as reader:
                    assert read_all(reader, files) == expected
                asked.append(len(proxy.requests))
                assert on_disk(own_cache / str(seed)) == in_index(own_cache / str(seed)) <= quota
            assert asked[0] == 200
            assert all(1 - requests / 200 >= 0.49 for requests in asked[1:]), asked


@server
def test_a_copy_goes_on_where_it_was(s3: str, proxy: Proxy, files: list[store.File], own_cache: Path) -> None:
    everything = {file.path: stamp(file) for file in files}
    with store.reader("copy", 1, s3) as reader:  # the quota is that of "cache"
        reader.copy(dict(list(everything.items())[:25]))
    assert len(proxy.requests) == 25
    with store.reader("copy", 1, s3) as reader:
        reader.copy(everything)
        assert len(proxy.requests) == 40
        kept = next(path for path in (own_cache / "remote").rglob("*/??/*"))
        kept.write_bytes(kept.read_bytes()[:-1])
        reader.copy(everything)
        assert len(proxy.requests) == 41, "what is cut short is fetched again"


@server
def test_a_copy_that_does_not_fit_is_refused_before_it_begins(
    s3: str, proxy: Proxy, files: list[store.File], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 10))
    with (
        store.reader("copy", GB, s3) as reader,
        pytest.raises(StorageError, match=r"needs 0\.00 GB for 40 files, and 0\.00 GB are free.*--remote cache"),
    ):
        reader.copy({file.path: stamp(file) for file in files})
    assert proxy.requests == []


@server
def test_a_copy_onto_a_disk_that_is_full(
    s3: str, files: list[store.File], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch)
    with store.reader("copy", GB, s3) as reader, pytest.raises(StorageError, match=r"cannot be copied to .*disk full"):
        reader.copy({file.path: stamp(file) for file in files})


def test_local_files_are_read_from_where_they_are(folder: Path, own_cache: Path) -> None:
    for mode in ("copy", "stream", "cache"):
        with store.reader(mode, GB, str(folder)) as reader:  # type: ignore[arg-type]
            reader.copy({file.path: stamp(file) for file in store.list_files(folder)})
            assert read_all(reader, store.list_files(folder)) == md5s(folder)
        assert reader.told() == []
    assert not (own_cache / "remote").exists()


def test_what_has_no_stamp_is_not_kept(own_cache: Path) -> None:
    store.write_whole("memory://stampless/a", b"one")
    with store.reader("cache", GB, "memory://stampless") as reader:
        for mark in ("", "3 "):
            assert reader.read("memory://stampless/a", mark) == b"one"
            store.write_whole("memory://stampless/a", b"two")
            assert reader.read("memory://stampless/a", mark) == b"two"
            store.write_whole("memory://stampless/a", b"one")
    assert reader.hits == 0


# ---------------------------------------------------------------- breaks and damages


@server
def test_a_connection_cut_in_the_middle_keeps_nothing_and_names_the_file(
    s3: str, proxy: Proxy, files: list[store.File], own_cache: Path
) -> None:
    slept: list[float] = []
    proxy.cut = lambda request: 1500 if request.startswith("GET") else None
    with store.reader("cache", GB, s3, sleep=slept.append) as reader:
        with pytest.raises(StorageError, match=f"{files[7].path}' cannot be read, 5 times in a row"):
            reader.read(files[7].path, stamp(files[7]))
        assert tuple(slept) == remote.PAUSES_S
        # aiohttp sends a request again where a connection that it kept open turns out to be closed
        assert 5 <= sum(request.startswith("GET") for request in proxy.requests) <= 10
        assert on_disk(own_cache) == in_index(own_cache) == 0
        proxy.cut = lambda request: None
        assert len(reader.read(files[7].path, stamp(files[7]))) == files[7].size


@server
def test_a_connection_that_comes_back_is_not_told(s3: str, proxy: Proxy, files: list[store.File]) -> None:
    def restored(pause: float) -> None:
        slept.append(pause)
        if len(slept) == 2:
            proxy.cut = lambda request: None

    slept: list[float] = []
    proxy.cut = lambda request: 700
    with store.reader("cache", GB, s3, sleep=restored) as reader:
        content = reader.read(files[0].path, stamp(files[0]))
    assert len(content) == files[0].size
    assert tuple(slept) == remote.PAUSES_S[:2]
    assert reader.notes == []


@server
def test_nobody_answers(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    slept: list[float] = []
    told = r"photos/a\.jpg' cannot be read, 5 times in a row.*127\.0\.0\.1:9"
    with store.reader("cache", GB, s3, sleep=slept.append) as reader, pytest.raises(StorageError, match=told):
        reader.read(f"{s3}/photos/a.jpg", "3 abc")
    assert tuple(slept) == remote.PAUSES_S


@server
def test_what_is_not_there_is_not_asked_for_again(s3: str, proxy: Proxy, files: list[store.File]) -> None:
    with store.reader("cache", GB, s3) as reader, pytest.raises(NotFound, match=r"photos/none\.jpg"):
        reader.read(f"{s3}/photos/none.jpg", "3 abc")
    assert len(proxy.requests) == 1
    with pytest.raises(NotFound):
        store.read_bytes(f"{s3}-none/photos/none.jpg")


@server
def test_without_keys(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_connections()
    try:
        with pytest.raises(StorageError, match=r"AWS_ACCESS_KEY_ID.*AWS_PROFILE"):
            store.read_bytes(f"{s3}/a")
    finally:
        forget_connections()


def forget_connections() -> None:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@server
def test_the_endpoint_of_a_profile(
    s3: str, s3_server: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    (tmp_path / "config").write_text(f"[profile lab]\nendpoint_url = {s3_server}\nregion = us-east-1\n")
    (tmp_path / "keys").write_text("[lab]\naws_access_key_id = {}\naws_secret_access_key = {}\n".format(*keys))
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    forget_connections()
    try:
        assert store.push(folder, s3).uploaded == 40
    finally:
        forget_connections()


@server
def test_a_server_known_by_a_name_without_dots(
    s3: str, proxy: Proxy, files: list[store.File], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its buckets are not its sub-domains: they stand in the path."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url.replace("127.0.0.1", "localhost"))
    store.read_bytes(files[0].path)
    assert proxy.requests[0].startswith(f"GET /{s3.removeprefix('s3://')}/photos/")


@server
def test_what_has_changed_is_never_served_stale(
    s3: str, s3_server: str, files: list[store.File], own_cache: Path
) -> None:
    bucket, key = s3.removeprefix("s3://"), files[0].path.removeprefix(f"{s3}/")
    with store.reader("cache", GB, s3) as reader:
        before = reader.read(files[0].path, stamp(files[0]))
    for content in (before[::-1], b"of another size"):
        client().put_object(Bucket=bucket, Key=key, Body=content)
        listed = store.list_files(f"{s3}/photos")
        client().put_object(Bucket=bucket, Key=key, Body=content + b"!" if len(content) > 20 else before)
        with (
            store.reader("cache", GB, s3) as reader,
            pytest.raises(StorageError, match="has changed since it was listed"),
        ):
            reader.read(files[0].path, stamp(listed[0]))
        client().put_object(Bucket=bucket, Key=key, Body=content)
        with store.reader("cache", GB, s3) as reader:
            assert reader.read(files[0].path, stamp(listed[0])) == content
            assert reader.read(files[0].path, stamp(listed[0])) == content
        assert reader.hits == 1
        assert on_disk(own_cache) == in_index(own_cache) == len(content) + 32, "the old one has gone"


class Bucket(BaseHTTPRequestHandler):
    """A server of one object that gives it wrong: as `wrong` makes it, with the etag of what is right."""

    content = b"the content of an image"
    wrong = staticmethod(bytes)
    headers_too: dict[str, str] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        self.answer(type(self).wrong(self.content))

    def do_HEAD(self) -> None:
        self.answer(self.content)

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        etag = {"ETag": f'"{hashlib.md5(self.content).hexdigest()}"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
        for name, value in {**etag, **self.headers_too, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(handler: type[BaseHTTPRequestHandler] | Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_port}"
        finally:
            web.shutdown()
            thread.join()


RIGHT_STAMP = f"{len(Bucket.content)} {hashlib.md5(Bucket.content).hexdigest()}"


@server
@pytest.mark.parametrize(
    ("wrong", "words"),
    [(lambda body: body[::-1], "what arrived has the MD5"), (lambda body: body[:-1], "22 of 23 bytes arrived")],
    ids=["damaged", "cut short"],
)
def test_what_arrives_wrong_is_asked_for_again_and_never_kept(
    wrong: Any, words: str, s3: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However sound the answer looks by itself."""
    monkeypatch.setattr(Bucket, "wrong", staticmethod(wrong))
    slept: list[float] = []
    with served(Bucket) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with store.reader("cache", GB, s3, sleep=slept.append) as reader:
            with pytest.raises(StorageError, match=f"{s3}/a.jpg' cannot be read, 5 times in a row: {words}"):
                reader.read(f"{s3}/a.jpg", RIGHT_STAMP)
            assert tuple(slept) == remote.PAUSES_S
            assert on_disk(own_cache) == 0
            monkeypatch.setattr(Bucket, "wrong", staticmethod(bytes))
            assert reader.read(f"{s3}/a.jpg", RIGHT_STAMP) == Bucket.content


@server
@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-server-side-encryption": "aws:kms"},
        {"x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {"x-amz-meta-md5": hashlib.md5(Bucket.content[::-1]).hexdigest()},
    ],
    ids=["key service", "own key", "noted"],
)
def test_an_etag_that_is_no_md5(headers: dict[str, str], s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "wrong", staticmethod(lambda body: body[::-1]))
    monkeypatch.setattr(Bucket, "headers_too", headers)
    with served(Bucket) as url, store.reader("cache", GB, s3) as reader:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert reader.read(f"{s3}/a.jpg", RIGHT_STAMP) == Bucket.content[::-1]


# ---------------------------------------------------------------- the cache, whoever else uses it

READS = """
import sys
from scrimp import store
root, quota = sys.argv[1], int(sys.argv[2])
files = store.list_files(root)
with store.reader("cache", quota, root) as reader:
    for _ in range(2):
        for file, content in zip(files, store.in_order(lambda f: reader.read(f.path, f"{f.size} {f.stamp}"), files, 8)):
            assert len(content) == file.size
assert not reader.notes, reader.notes
"""


@server
@pytest.mark.parametrize("part", [0.5, 1.2])
def test_two_processes_share_a_cache(
    part: float, s3: str, proxy: Proxy, files: list[store.File], folder: Path, own_cache: Path
) -> None:
    quota = int(part * sum(file.size or 0 for file in files))
    command = [sys.executable, "-W", "error", "-c", READS, f"{s3}/photos", str(quota)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told.decode()
    assert on_disk(own_cache) == in_index(own_cache) <= quota
    with store.reader("cache", quota, f"{s3}/photos") as reader:
        assert read_all(reader, files) == md5s(folder), "and no file is half a file"
    assert reader.hits >= (19 if part < 1 else 40), "as many as have room, with the 32 bytes that each takes more"


@server
def test_a_killed_reader_leaves_nothing_that_counts(
    s3: str, proxy: Proxy, files: list[store.File], folder: Path, own_cache: Path
) -> None:
    proxy.delay_s = 0.1
    process = subprocess.Popen([sys.executable, "-c", READS, f"{s3}/photos", str(GB)])
    try:
        proxy.wait_for(25, "GET")
    finally:
        process.kill()
        process.wait()
    proxy.delay_s = 0.0
    with store.reader("cache", GB, f"{s3}/photos") as reader:
        assert read_all(reader, files) == md5s(folder)
        assert 0 < reader.hits < 40
    assert on_disk(own_cache) == in_index(own_cache) == sum((file.size or 0) + 32 for file in files)


DIES = """
import os, signal, sys
from pathlib import Path
from scrimp.store.kept import Kept, digest
kept = Kept(Path(sys.argv[1]), "mine", 1000)
kept.put("whole", "s", b"w" * 100)
kept._make_room(digest("entered, never written"), 500)
(kept.folder / "arriving" / f"{kept._id}-1").write_bytes(b"half a fi")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_the_dead_entered_and_never_wrote_is_struck_out(own_cache: Path) -> None:
    folder = own_cache / "remote"
    died = subprocess.run([sys.executable, "-c", DIES, str(folder)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert (on_disk(own_cache), in_index(own_cache)) == (141, 632)
    kept = Kept(folder, "mine", 1000)
    assert on_disk(own_cache) == in_index(own_cache) == 132
    assert kept.put("as large as can be", "s", b"x" * (1000 - 132 - 32))
    assert not kept.put("one", "s", b"")
    kept.close()


def test_room_is_made_of_other_sets_only_the_longest_unread_first(own_cache: Path) -> None:
    folder = own_cache / "remote"

    def fill(name: str) -> None:
        kept = Kept(folder, name, 1000)
        for key in "abc":
            assert kept.put(f"{name}/{key}", "s", b"x" * 68)
        kept.close()

    def left(name: str) -> int:
        return sum(read_kept(folder, name, f"{name}/{key}", "s") is not None for key in "abc")

    for name in ("first", "second", "third"):
        fill(name)
    Kept(folder, "first", 1000).close()  # read again, so that "second" is now the longest unread
    used = Kept(folder, "third", 1000)
    mine = Kept(folder, "mine", 1000)
    assert mine.put("mine/a", "s", b"x" * 68)
    assert (left("first"), left("second"), left("third")) == (3, 3, 3)
    assert mine.put("mine/b", "s", b"x" * 68)
    assert (left("first"), left("second"), left("third")) == (3, 2, 3)
    for key in "cdef":
        assert mine.put(f"mine/{key}", "s", b"x" * 68)
    assert (left("first"), left("second"), left("third")) == (1, 0, 3)
    assert not mine.put("mine/large", "s", b"x" * 400), "it would not help to give up the rest"
    assert left("first") == 1
    assert mine.put("mine/g", "s", b"x" * 68)
    assert not mine.put("mine/h", "s", b"x" * 68), "one that is read, and one's own, are never given up"
    assert (left("first"), left("third")) == (0, 3)
    assert on_disk(own_cache) == in_index(own_cache) == 1000
    used.close()
    assert mine.put("mine/h", "s", b"x" * 68)
    assert left("third") == 2
    mine.close()


def test_the_same_file_twice_counts_once_and_a_new_one_replaces_it(own_cache: Path) -> None:
    kept = Kept(own_cache / "remote", "mine", 1000)
    assert kept.put("a", "s", b"x" * 100)
    assert kept.put("a", "s", b"x" * 100)
    assert in_index(own_cache) == on_disk(own_cache) == 132
    assert kept.put("a", "t", b"y" * 50)
    assert in_index(own_cache) == on_disk(own_cache) == 82
    assert read_kept(kept.folder, "mine", "a", "s") is None
    assert read_kept(kept.folder, "mine", "a", "t") == b"y" * 50
    kept.close()


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        real(self, content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)


@server
def test_a_full_disk_is_told_once_and_reading_goes_on(
    s3: str, files: list[store.File], folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.reader("cache", GB, s3) as reader:
        first = read_all(reader, files[:10])
        with monkeypatch.context() as full:
            fill_disk(full)
            assert read_all(reader, files) == md5s(folder)
        assert read_all(reader, files[:10]) == first
    assert reader.hits == 20, "what was kept before is still read"
    assert len(reader.notes) == 1
    assert "disk full" in reader.notes[0]
    assert str(own_cache) in reader.notes[0]
    assert on_disk(own_cache) == in_index(own_cache) == sum((file.size or 0) + 32 for file in files[:10])


@server
def test_a_cache_that_cannot_be_written_is_told_once_and_reading_goes_on(
    s3: str, files: list[store.File], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path / "file" / "below"))
    with store.reader("cache", GB, s3) as reader:
        assert read_all(reader, files) == md5s(folder)
    assert len(reader.notes) == 1
    assert "a file is in the way" in reader.notes[0]
    with store.reader("copy", GB, s3) as reader, pytest.raises(StorageError, match=r"cannot be copied: .*in the way"):
        reader.copy({file.path: stamp(file) for file in files})


@server
def test_an_index_that_is_damaged_is_told_and_what_is_kept_still_read(
    s3: str, files: list[store.File], folder: Path, own_cache: Path
) -> None:
    with store.reader("cache", GB, s3) as reader:
        read_all(reader, files)
    for path in (own_cache / "remote").glob("index.sqlite*"):
        path.write_bytes(b"rubbish" * 100)
    with store.reader("cache", GB, s3) as reader:
        assert read_all(reader, files) == md5s(folder)
    assert reader.hits == 40
    assert len(reader.notes) == 1
    assert "not a database" in reader.notes[0]


@server
@pytest.mark.parametrize("damage", [lambda whole: whole[:50], lambda whole: whole[:-1] + b"!", lambda whole: b""])
def test_a_kept_file_that_was_damaged_is_fetched_again(
    damage: Callable[[bytes], bytes], s3: str, files: list[store.File], folder: Path, own_cache: Path
) -> None:
    with store.reader("cache", GB, s3) as reader:
        read_all(reader, files)
        for path in list((own_cache / "remote").rglob("*/??/*"))[:5]:
            path.write_bytes(damage(path.read_bytes()))
        assert read_all(reader, files) == md5s(folder)
    assert (reader.requests, reader.hits) == (45, 35)
    assert on_disk(own_cache) == in_index(own_cache)


@server
def test_another_server_has_other_files(
    s3: str, s3_server: str, files: list[store.File], monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.reader("cache", GB, s3) as reader:
        read_all(reader, files)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    with store.reader("cache", GB, s3) as reader:
        read_all(reader, files[:3])
    assert reader.requests == 3


def test_names_of_kept_files_do_not_depend_on_the_length_or_letters_of_a_key(own_cache: Path) -> None:
    kept = Kept(own_cache / "remote", digest("s3://ü/" + "x" * 5000), None)
    for key in ("ü" * 3000, "../../escape", "a\0b", os.fsdecode(b"\xff")):
        assert kept.put(key, "s", key.encode(errors="replace"))
        assert read_kept(kept.folder, kept.set_name, key, "s") == key.encode(errors="replace")
    assert not (own_cache / "escape").exists()
    kept.close()


# ---------------------------------------------------------------- the web


@server
def test_a_folder_on_the_web_reads_like_any_other(folder: Path, own_cache: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: object) -> None:
            pass

    with served(Quiet) as url:
        files = store.list_files(url)
        assert [(file.key, file.size) for file in files] == [(f.key, f.size) for f in store.list_files(folder)]
        assert store.list_folders(url) == ["class 0", "class 1", "class 2"]
        with store.reader("cache", GB, url) as reader:
            assert read_all(reader, files) == read_all(reader, files) == md5s(folder)
        assert (reader.requests, reader.hits) == (40, 40)
        with pytest.raises(NotFound):
            store.read_bytes(f"{url}/none.jpg")
        (folder / "class 0" / "0000 ü.jpg").write_bytes(b"new and shorter")
        with (
            store.reader("stream", GB, url) as reader,
            pytest.raises(StorageError, match="has changed since it was listed"),
        ):
            reader.read(files[0].path, stamp(files[0]))
