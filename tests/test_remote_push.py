"""Sending a folder to a bucket: what arrives, what is not sent again, and what a break leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_tools import Proxy, client, contents, make_files, md5s

from scrimp import cli, store
from scrimp.errors import NotFound, SettingError, StorageError
from scrimp.store import pushing, remote

server = pytest.mark.server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_files(tmp_path / "photos", 40)
    return tmp_path / "photos"


@pytest.fixture
def proxy(s3: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """In front of the server, which the environment now leads to through it."""
    with Proxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES_S", (0.0,) * 4)


@server
def test_makes_the_bucket_and_keeps_the_structure(s3: str, folder: Path) -> None:
    (folder / "empty").write_bytes(b"")
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ["a::b.jpg", "50%.jpg", "a#b.jpg", "a?b.jpg", "a+b&c.jpg", " first.jpg", "n" * 200 + ".jpg"]:
        (folder / "deep" / "er" / name).write_bytes(name.encode())
    pushed = store.push(folder, f"{s3}/some/prefix")
    assert contents(f"{s3}/some/prefix") == md5s(folder)
    assert (pushed.files, pushed.uploaded, pushed.unchanged, pushed.unreadable) == (48, 48, 0, ())
    assert pushed.bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert pushed.cost.seconds > 0
    assert pushed.cost.wh is None
    read = {file.key: store.read_bytes(file.path) for file in store.list_files(f"{s3}/some/prefix")}
    assert {key: hashlib.md5(content).hexdigest() for key, content in read.items()} == md5s(folder)


@server
def test_an_empty_folder_and_none_at_all(s3: str, tmp_path: Path) -> None:
    assert store.push(tmp_path, s3).files == 0
    assert contents(s3) == {}
    with pytest.raises(NotFound, match="none"):
        store.push(tmp_path / "none", s3)


@server
def test_what_is_there_is_not_sent_again(s3: str, proxy: Proxy, folder: Path) -> None:
    store.push(folder, s3)
    proxy.requests.clear()
    again = store.push(folder, s3)
    assert (again.uploaded, again.unchanged, again.bytes) == (0, 40, 0)
    assert not [request for request in proxy.requests if request.startswith("PUT")]
    one, two = folder / "class 0" / "0000 ü.jpg", folder / "class 1" / "0001 ü.jpg"
    one.write_bytes(one.read_bytes()[::-1])  # the same size
    two.write_bytes(b"shorter")
    third = store.push(folder, s3)
    assert (third.uploaded, third.unchanged) == (2, 38)
    assert contents(s3) == md5s(folder)


@server
def test_files_of_several_parts(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The etag of such an object is no MD5: it is known by the etag of its parts, or by the MD5 noted with it."""
    monkeypatch.setattr(pushing, "_PART", 5 * 2**20)  # the smallest that S3 takes
    large = os.urandom(11 * 2**20)
    for name in ("by us", "alike", "noted", "unknown"):
        (tmp_path / name).write_bytes(large)
    client().create_bucket(Bucket=s3.removeprefix("s3://"))
    other = {"alike": (5, {}), "noted": (6, {"md5": hashlib.md5(large).hexdigest()}), "unknown": (6, {})}
    for name, (mb, noted) in other.items():
        send_in_parts(s3.removeprefix("s3://"), name, large, mb * 2**20, noted)
    assert store.push(tmp_path, s3).uploaded == 2, "by us, and what cannot be known"
    assert contents(s3) == md5s(tmp_path)
    etag = client().head_object(Bucket=s3.removeprefix("s3://"), Key="by us")["ETag"].strip('"')
    parts = [large[start : start + 5 * 2**20] for start in range(0, len(large), 5 * 2**20)]
    assert etag == hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest() + "-3"
    assert store.push(tmp_path, s3).uploaded == 0


def send_in_parts(bucket: str, key: str, content: bytes, size: int, noted: dict[str, str]) -> None:
    """As another program might, that cuts elsewhere."""
    s3 = client()
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, Metadata=noted)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(content), size), 1):
        body = content[start : start + size]
        sent = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


def pushing_elsewhere(folder: Path, uri: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "scrimp", "push", str(folder), uri, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@server
def test_a_killed_push_goes_on_where_it_was(s3: str, proxy: Proxy, tmp_path: Path) -> None:
    make_files(tmp_path / "photos", 200)
    proxy.delay_s = 0.1
    process = pushing_elsewhere(tmp_path / "photos", s3)
    try:
        proxy.wait_for(60, "PUT")
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    proxy.delay_s = 0.0
    here, there = md5s(tmp_path / "photos"), contents(s3)
    assert 0 < len(there) < 200, "it was killed in the middle"
    assert there.items() <= here.items(), "whole objects only"
    resumed = store.push(tmp_path / "photos", s3)
    assert contents(s3) == here
    assert resumed.unchanged == len(there)
    assert resumed.uploaded == 200 - len(there)


@server
def test_ctrl_c_leaves_whole_objects_and_says_how_to_go_on(s3: str, proxy: Proxy, tmp_path: Path) -> None:
    make_files(tmp_path / "photos", 200)
    proxy.delay_s = 0.1
    process = pushing_elsewhere(tmp_path / "photos", s3)
    try:
        proxy.wait_for(60, "PUT")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "the same command goes on" in told.decode()
    assert "Traceback" not in told.decode()
    proxy.delay_s = 0.0
    there = contents(s3)
    assert 0 < len(there) < 200
    assert there.items() <= md5s(tmp_path / "photos").items()


@server
def test_a_dropped_connection_is_tried_again(s3: str, proxy: Proxy, folder: Path, no_pauses: None) -> None:
    dropped: set[str] = set()

    def first_time(request: str) -> int | None:
        if not request.startswith("PUT") or request in dropped:
            return None
        dropped.add(request)
        return 0

    proxy.cut = first_time
    assert store.push(folder, s3).uploaded == 40
    assert len(dropped) == 41, "the bucket, and every file once"
    assert contents(s3) == md5s(folder)


@server
def test_a_connection_that_stays_down_is_told_with_the_file(
    s3: str, proxy: Proxy, folder: Path, no_pauses: None
) -> None:
    store.push(folder, s3)
    (folder / "class 2" / "0002 ü.jpg").write_bytes(b"new")
    proxy.cut = lambda request: 0 if request.startswith("PUT") else None
    with pytest.raises(StorageError, match=r"class 2/0002 ü.jpg' cannot be written, 5 times in a row.*goes on"):
        store.push(folder, s3)
    sent = sum(request.startswith("PUT") and "0002" in request for request in proxy.requests)
    assert sent >= 1 + 5, "each try of aiohttp's may send it twice, if the connection was one kept open"


@server
def test_what_cannot_be_read_is_passed_over_and_told(s3: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gone").symlink_to(folder / "nowhere")
    (folder / os.fsdecode(b"\xff.jpg")).write_bytes(b"1")
    secret, real = folder / "class 0" / "0000 ü.jpg", Path.open

    def refuse(self: Path, *args: str, **more: str) -> object:
        if self == secret:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **more)

    monkeypatch.setattr(Path, "open", refuse)
    pushed = store.push(folder, f"{s3}/p")
    assert dict(pushed.unreadable) == {
        "gone": "neither a file nor a link to one",
        "?.jpg": "its name is not text",
        "class 0/0000 ü.jpg": "permission denied",
    }
    assert pushed.uploaded == 39


def test_a_key_that_is_too_long(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 200] * 5)
    deep.mkdir(parents=True)
    (deep / "0123456789.jpg").write_bytes(b"1")
    (deep / "0123456.jpg").write_bytes(b"1")
    pushed = store.push(tmp_path, "memory://bucket/1234567")
    assert [reason for _, reason in pushed.unreadable] == ["its key has 1,027 bytes, and 1,024 are allowed"]
    assert pushed.uploaded == 1


def test_a_store_without_checksums_is_read_to_compare(tmp_path: Path) -> None:
    make_files(tmp_path, 9)
    first = store.push(tmp_path, "memory://other/place")
    again = store.push(tmp_path, "memory://other/place")
    assert (first.uploaded, again.uploaded, again.unchanged) == (9, 0, 9)
    one = tmp_path / "class 0" / "0000 ü.jpg"
    one.write_bytes(one.read_bytes()[::-1])
    assert store.push(tmp_path, "memory://other/place").uploaded == 1
    assert store.read_bytes("memory://other/place/class 0/0000 ü.jpg") == one.read_bytes()


def test_what_arrives_damaged_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    make_files(tmp_path, 9)
    real = MemoryFileSystem.pipe_file

    def damage(self: MemoryFileSystem, path: str, value: bytes) -> None:
        real(self, path, value[::-1] if "0004" in path else value)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", damage)
    with pytest.raises(StorageError, match=r"1 of 9 files are not in .* as they were sent.*0004 ü\.jpg"):
        store.push(tmp_path, "memory://damaged")


@pytest.mark.parametrize("uri", ["https://example.org/x", "HTTP://x/y", "photos", "/tmp/x"])
def test_where_nothing_can_be_pushed_to(uri: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="s3://bucket/prefix"):
        store.push(tmp_path, uri)


@server
def test_the_command(
    s3: str,
    s3_server: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setattr(sys, "argv", ["scrimp", "push", str(folder), s3, "--endpoint-url", s3_server, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["uploaded"] == 40
    assert told["cost"]["wh"] is None
    (folder / "gone").symlink_to(folder / "nowhere")
    monkeypatch.setattr(sys, "argv", ["scrimp", "push", str(folder), s3])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1, "not all of it could be sent"
    shown = capsys.readouterr().out
    assert "40 were there" in shown
    assert "gone: neither a file nor a link to one" in shown
