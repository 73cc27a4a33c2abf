"""From a bucket to a trained model: the same as from a folder, by each way of reading."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3_tools import Proxy

from scrimp import ImageSource, cli, distill, find_images, prepare, push, store
from scrimp.errors import StorageError
from scrimp.images.decode import threads_to_read
from scrimp.store import remote

pytestmark = pytest.mark.server


@pytest.fixture
def bucket(s3: str, photos: Path) -> str:
    """The URI of the photos, pushed."""
    push(photos, f"{s3}/photos")
    return f"{s3}/photos"


@pytest.fixture
def proxy(s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with Proxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.mark.parametrize("mode", ["copy", "stream", "cache"])
def test_the_same_pixels_as_from_the_folder(
    mode: Any, bucket: str, photos: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = prepare(find_images(photos), image_px=24)
    source = ImageSource(source=bucket, remote=mode)
    images = find_images(source)
    assert threads_to_read(images) == store.THREADS
    proxy.requests.clear()
    there = prepare(images, image_px=24)
    assert there.images.keys == here.images.keys
    assert np.array_equal(there.pixels, here.pixels)
    assert np.array_equal(there.images.labels, here.images.labels)
    assert len(proxy.requests) == 60
    assert any(f"remote={mode}: 60 requests" in note for note in there.images.notes)
    assert not any("requests" in note for note in here.images.notes)
    proxy.requests.clear()
    larger = prepare(images, image_px=32)  # another pack out of the same files
    assert len(proxy.requests) == (60 if mode == "stream" else 0)
    assert len(larger.pixels) == 60


def test_a_broken_image_is_left_out_and_a_broken_connection_is_not(
    bucket: str, photos: Path, proxy: Proxy, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_whole(f"{bucket}/red/003.jpg", b"not an image")
    images = find_images(bucket)
    proxy.cut = lambda request: 500 if "blue/007" in request else None
    monkeypatch.setattr(remote, "PAUSES_S", (0.0,))
    with pytest.raises(StorageError, match=r"photos/blue/007\.jpg' cannot be read, 2 times in a row"):
        prepare(images, image_px=24)
    assert not list((own_cache / "packs").iterdir())
    proxy.cut = lambda request: None
    ready = prepare(images, image_px=24)
    assert [left.key for left in ready.images.left_out] == ["red/003.jpg"]
    assert len(ready.pixels) == 59


def test_distilling_from_a_bucket(bucket: str, photos: Path, proxy: Proxy) -> None:
    here, there = (distill(find_images(source), image_px=8) for source in (photos, bucket))
    assert all(np.array_equal(one, other) for one, other in zip(here.items[:3], there.items[:3], strict=True))
    proxy.requests.clear()
    assert np.array_equal(distill(find_images(bucket), per_class=2, image_px=8).items[0], there.items[0]) is False
    assert not [request for request in proxy.requests if request.endswith(".jpg")], "all of it had been kept"


def test_a_manifest_in_a_bucket_and_one_here_of_what_is_there(bucket: str, photos: Path, tmp_path: Path) -> None:
    keys = [file.key for file in store.list_files(photos)]
    table = "path,label\n" + "".join(f"{key},{key.split('/')[0]}\n" for key in keys)
    store.write_whole(f"{bucket}/list.csv", table.encode())
    (tmp_path / "list.csv").write_text(
        "path,label\n" + "".join(f"{bucket}/{key},{key.split('/')[0]}\n" for key in keys)
    )
    expected = prepare(find_images(photos), image_px=16).pixels
    for source in (f"{bucket}/list.csv", tmp_path / "list.csv"):
        ready = prepare(find_images(source), image_px=16)
        assert sorted(map(bytes, ready.pixels)) == sorted(map(bytes, expected))


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["scrimp", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code


def test_a_sweep_from_a_bucket_is_the_sweep_from_the_folder(
    bucket: str,
    s3_server: str,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    common = ["--model", "ultralight", "--from-scratch", "--image-size", "16", "--epochs", "1", "--json"]
    runs = {}
    for name, source in {"there": [bucket, "--endpoint-url", s3_server], "here": [str(photos)]}.items():
        command(monkeypatch, "sweep", *source, *common, "--out", str(tmp_path / name))
        assert (tmp_path / name / "report.html").is_file()
        capsys.readouterr()
        runs[name] = json.loads((tmp_path / name / "best" / "result.json").read_text())
    assert runs["there"]["val"] == runs["here"]["val"]
    assert any("60 requests" in note for note in runs["there"]["notes"])
    command(monkeypatch, "predict", str(tmp_path / "there" / "best"), f"{bucket}/red/001.jpg", "--json")
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["error"] is None
    shutil.rmtree(tmp_path / "there")
