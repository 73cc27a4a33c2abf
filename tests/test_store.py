"""Reading, listing and writing, here and at a URI."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scrimp import store
from scrimp.errors import MissingExtra, NotFound, SettingError, StorageError


@pytest.fixture
def bucket() -> Iterator[str]:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield "memory://bucket"
    memory.store.clear()


def test_knows_a_uri_from_a_path() -> None:
    assert all(map(store.is_uri, ["s3://b/k", "memory://x", "https://a.b/c"]))
    assert not any(map(store.is_uri, ["photos", "/a/b", "C:\\a", "C:/a", "a:b", Path("s3:/b"), "cat://"[:4]]))


def test_lists_what_os_walk_finds(tmp_path: Path) -> None:
    for key in ["b.txt", "a/2.jpg", "a/10.jpg", "a/deep/er/x", "ü/" + "n" * 200 + ".png"]:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(key.encode())
    expected = sorted(
        Path(folder, name).relative_to(tmp_path).as_posix() for folder, _, names in os.walk(tmp_path) for name in names
    )
    found = store.list_files(tmp_path)
    assert [file.key for file in found] == expected
    assert all(Path(file.path).read_bytes() == file.key.encode() for file in found)
    assert all(file.size == len(file.key.encode()) for file in found)


def test_stamp_changes_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    os.utime(tmp_path / "a", ns=(1, 1))
    before = store.list_files(tmp_path)
    os.utime(tmp_path / "a", ns=(2, 2))
    assert before != store.list_files(tmp_path)


def test_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = store.list_files(tmp_path)
    assert [file.key for file in found] == ["a/1", "b/to_a/1", "gone"]
    assert found[-1].size is None


def test_names_that_are_not_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.jpg")
    (tmp_path / name).write_bytes(b"1")
    (file,) = store.list_files(tmp_path)
    assert file.key == name
    assert store.read_bytes(file.path) == b"1"


def test_a_uri_reads_as_a_folder_does(bucket: str) -> None:
    store.write_whole(f"{bucket}/a/1.jpg", b"one")
    store.write_whole(f"{bucket}/b.txt", b"four")
    found = store.list_files(bucket)
    assert [(file.key, file.path, file.size) for file in found] == [
        ("a/1.jpg", f"{bucket}/a/1.jpg", 3),
        ("b.txt", f"{bucket}/b.txt", 4),
    ]
    assert store.read_bytes(found[0].path) == b"one"
    assert store.list_folders(bucket) == ["a"]
    assert store.is_folder(bucket)
    assert not store.is_folder(f"{bucket}/b.txt")
    described = store.describe(f"{bucket}/a/1.jpg")
    assert described is not None
    assert described.size == 3
    assert store.describe(f"{bucket}/a") is None
    assert store.describe(f"{bucket}/c") is None


@pytest.mark.parametrize("root", ["memory://bucket/none", "none"])
def test_what_is_not_there(root: str, bucket: str) -> None:
    with pytest.raises(NotFound, match="none"):
        store.list_files(root)
    with pytest.raises(NotFound, match="none"):
        store.read_bytes(root)


def test_an_unknown_kind_of_uri() -> None:
    with pytest.raises(SettingError, match="nosuch://x"):
        store.read_bytes("nosuch://x")


def test_s3_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec import get_filesystem_class

    monkeypatch.setitem(sys.modules, "s3fs", None)
    known = sys.modules[get_filesystem_class.__module__]._registry  # type: ignore[attr-defined]
    monkeypatch.delitem(known, "s3", raising=False)  # another test may have put it there
    with pytest.raises(MissingExtra, match=r"scrimp\[s3\]"):
        store.list_files("s3://bucket/photos")


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match="cannot be read: permission denied"):
        store.list_files(tmp_path)


def test_writes_whole_and_over(tmp_path: Path) -> None:
    path = tmp_path / "new" / ("n" * 250)
    store.write_whole(path, b"first")
    store.write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(StorageError, match=r"result\.json' cannot be written: disk full\."):
        store.write_whole(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]
    assert path.read_bytes() == b"old"


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "f", []
    path.write_bytes(b"old")
    real = os.fsync

    def look(handle: int) -> None:
        seen.append(path.read_bytes())
        real(handle)

    monkeypatch.setattr(os, "fsync", look)
    store.write_whole(path, b"new" * 1000)
    assert seen[0] == b"old"


def test_cache_is_where_the_variable_says(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIMP_CACHE", str(own_cache / "deep" / "er"))
    assert store.cache_folder() == own_cache / "deep" / "er"
    assert list(store.cache_folder().iterdir()) == []


def test_cache_with_a_file_in_the_way(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_cache / "file").write_bytes(b"")
    for path in (own_cache / "file", own_cache / "file" / "below"):
        monkeypatch.setenv("SCRIMP_CACHE", str(path))
        with pytest.raises(StorageError, match="a file is in the way") as caught:
            store.cache_folder()
        assert str(path) in str(caught.value)
        assert "SCRIMP_CACHE" in str(caught.value)


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "disk full"), (errno.EROFS, "read-only file system")])
def test_cache_that_cannot_be_written(code: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(StorageError, match=f"{words}.*Set SCRIMP_CACHE"):
        store.cache_folder()


def test_importing_it_does_not_import_fsspec() -> None:
    code = "import sys, scrimp.store; assert 'fsspec' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_results_come_in_order_and_no_more_than_asked_for_wait() -> None:
    taken: list[int] = []
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number * number

    for result in store.in_order(work, range(100), 4, ahead=10):
        assert len(begun) <= len(taken) + 10 + 1
        taken.append(result)
    assert taken == [number * number for number in range(100)]
    assert list(store.in_order(work, [], 4)) == []


def test_an_error_stops_what_has_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise StorageError("three")
        return number

    with pytest.raises(StorageError, match="three"):
        list(store.in_order(work, range(1000), 2))
    assert len(begun) < 20


def test_a_pipe_is_no_file(tmp_path):
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    assert [(file.key, file.size) for file in store.list_files(tmp_path)] == [("a/pipe.jpg", None)]


def test_ctrl_c_waits_for_no_thread():
    never = threading.Event()

    def stuck(thing: int) -> None:
        if thing == 0:
            os.kill(os.getpid(), signal.SIGINT)
        never.wait(60)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(store.in_order(stuck, range(8), 2))
    never.set()
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("name", ["x\ny.jpg", "q?versionId=3.jpg"])
def test_what_no_object_can_be_called_is_not_sent(name):
    from scrimp.store.pushing import _unsendable

    assert "rename it" in _unsendable(store.File(name, name, 3, "1"), f"s3://bucket/{name}")
    assert not _unsendable(store.File("a?.jpg", "a?.jpg", 3, "1"), "s3://bucket/a?.jpg")


def test_a_bucket_must_be_named(tmp_path):
    with pytest.raises(SettingError, match="names no bucket"):
        store.push(tmp_path, "s3:///x")
