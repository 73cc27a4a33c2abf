"""The JSON API inside this process: what it answers, what it refuses and how, and that nothing stops it."""

from __future__ import annotations

import io
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serve_tools import Held, encoded, noise
from starlette.testclient import TestClient

from scrimp.serving.api import build_api
from scrimp.serving.predicting import Predictor
from scrimp.serving.service import FORMATS, Limits, Service

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def client(predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(
        build_api(Service(predictor, Limits(upload_mb=0.5, megapixels=1))), raise_server_exceptions=False
    ) as it:
        yield it


def refusal(answer: Any) -> tuple[int, str]:
    """Status and code of a refusal, which is JSON of one shape without a trace of where it came from."""
    problem = answer.json()["error"]
    assert set(problem) == {"code", "message"}
    assert problem["message"]
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
    return answer.status_code, problem["code"]


def test_one_image_as_the_body(client: TestClient, predictor: Predictor, photo: bytes) -> None:
    answer = client.post("/predict", content=photo, headers=JPEG)
    assert answer.status_code == 200
    told = answer.json()
    assert told["model"] == "ultralight"
    (seen,) = told["predictions"]
    with Image.open(io.BytesIO(photo)) as image:
        expected = predictor.look(image.convert("RGB"))
    assert (seen["label"], seen["error"], seen["labels"], seen["target"]) == ("red", None, None, None)
    assert seen["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    assert list(seen["probabilities"].values()) == sorted(seen["probabilities"].values(), reverse=True)


def test_many_images_in_a_form_come_back_in_order(client: TestClient, photos: Any) -> None:
    sent = [(name, (photos / name / "001.jpg").read_bytes()) for name in ("green", "red", "blue", "red")]
    files = [("files", (f"{name} ä.jpg", content, "image/jpeg")) for name, content in sent]
    answer = client.post("/predict?top=1", files=files)
    assert answer.status_code == 200
    seen = answer.json()["predictions"]
    assert [one["label"] for one in seen] == [name for name, _ in sent]
    assert [one["image"] for one in seen] == [f"{name} ä.jpg" for name, _ in sent]
    assert all(len(one["probabilities"]) == 1 for one in seen)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_kind_that_is_let_in_is_read(client: TestClient, kind: str) -> None:
    for mode in ("RGB", "L"):
        content = encoded(Image.new("RGB", (50, 40), (210, 50, 40)).convert(mode), kind)
        answer = client.post("/predict", content=content, headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code == 200, answer.text
        label = answer.json()["predictions"][0]["label"]
        assert label == "red" or mode == "L"


def test_a_bad_file_among_good_ones_is_told_in_its_place(client: TestClient, photo: bytes) -> None:
    files = [
        ("files", ("good.jpg", photo)),
        ("files", ("bad.jpg", photo[: len(photo) * 3 // 4])),
        ("other", ("text.txt", b"text")),
    ]
    answer = client.post("/predict", files=files)
    assert answer.status_code == 200
    good, bad, text = answer.json()["predictions"]
    assert (good["label"], good["error"]) == ("red", None)
    assert (bad["label"], bad["probabilities"], bad["error"]["code"]) == (None, {}, "broken_image")
    assert text["error"]["code"] == "not_an_image"
    assert refusal(client.post("/predict", files=files[1:])) == (422, "broken_image"), "none was seen"


def test_limits_have_an_answer_each(client: TestClient, photo: bytes) -> None:
    large = encoded(noise(600, 600), "PNG")
    assert len(large) > 500_000
    assert refusal(client.post("/predict", content=large, headers=JPEG)) == (413, "too_many_bytes")
    pieces = iter([large[:300_000], large[300_000:]])  # without a length that is told beforehand
    assert refusal(client.post("/predict", content=pieces, headers=JPEG)) == (413, "too_many_bytes")
    wide = encoded(Image.new("RGB", (1001, 1000)), "PNG")
    assert refusal(client.post("/predict", content=wide, headers=JPEG)) == (413, "too_many_pixels")
    fits = encoded(Image.new("RGB", (1000, 1000)), "PNG")
    assert client.post("/predict", content=fits, headers=JPEG).status_code == 200
    files = [("files", (f"{n}.jpg", photo)) for n in range(65)]
    assert refusal(client.post("/predict", files=files)) == (413, "too_many_files")


def test_what_is_no_request_of_ours(client: TestClient, photo: bytes) -> None:
    assert refusal(client.post("/predict", json={"image": "x"})) == (415, "not_an_image")
    assert client.post("/predict", content=photo).status_code == 200, "its own first bytes tell"
    assert refusal(client.post("/predict", content=photo, headers={"Content-Type": "multipart/form-data"})) == (
        400,
        "bad_form",
    )
    assert refusal(client.post("/predict", data={"x": "y"})) == (415, "not_an_image")
    assert refusal(client.post("/predict")) == (422, "empty")
    assert refusal(client.post("/predict?top=0", content=photo, headers=JPEG)) == (422, "bad_parameter")
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = client.request(method, "/predict")
        assert refusal(answer) == (405, "method_not_allowed")
        assert answer.headers["Allow"] == "POST"
    assert refusal(client.get("/nowhere")) == (404, "not_found")


def test_a_fault_of_ours_is_told_without_its_trace(predictor: Predictor, photo: bytes) -> None:
    def broken(pixels: Any) -> Any:
        raise ArithmeticError("secret")

    predictor.outputs = broken
    with TestClient(build_api(Service(predictor, Limits())), raise_server_exceptions=False) as client:
        answer = client.post("/predict", content=photo, headers=JPEG)
        assert refusal(answer) == (500, "internal")
        assert "secret" not in answer.text
        assert client.get("/healthz").status_code == 200


def test_health_and_metrics(client: TestClient, photo: bytes) -> None:
    assert client.get("/healthz").json() == {
        "status": "ok", "model": "ultralight", "task": "classify", "classes": 3, "image_px": 32,
    }  # fmt: skip
    client.post("/predict", content=photo, headers=JPEG)
    client.post("/predict", files=[("files", ("a", photo)), ("files", ("b", photo))])
    client.post("/predict", content=b"text", headers=JPEG)
    told = client.get("/metrics")
    assert told.headers["Content-Type"].startswith("text/plain")
    lines = told.text.splitlines()
    assert 'scrimp_requests_total{code="ok",status="200"} 2.0' in lines
    assert 'scrimp_requests_total{code="not_an_image",status="415"} 1.0' in lines
    assert "scrimp_images_total 3.0" in lines
    assert "scrimp_batch_size_sum 3.0" in lines
    assert "scrimp_waiting_images 0.0" in lines


# ---------------------------------------------------------------- full


def test_a_full_queue_refuses_at_once_and_keeps_what_it_took(predictor: Predictor, photo: bytes) -> None:
    """The model is held still: three images may wait, the fourth request is refused while they do."""
    held = predictor.outputs = Held(predictor.outputs)
    service = Service(predictor, Limits(queue=3))
    with TestClient(build_api(service)) as client, ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(client.post, "/predict", content=photo, headers=JPEG) for _ in range(3)]
        assert held.began.wait(30)
        filled = threading.Event()
        while not filled.is_set():  # all three are inside
            if service._taken == 3:
                filled.set()
        refused = client.post("/predict", content=photo, headers=JPEG)
        assert refusal(refused) == (503, "busy")
        assert refused.headers["Retry-After"] == "1"
        held.may.set()
        assert [one.result(30).status_code for one in taken] == [200, 200, 200]
        assert client.post("/predict", content=photo, headers=JPEG).status_code == 200
        two = [("files", (f"{n}.jpg", photo)) for n in range(4)]
        assert refusal(client.post("/predict", files=two)) == (413, "too_many_files"), "it would never fit"
    assert service._taken == 0


# ---------------------------------------------------------------- hostile


def png_that_claims(width: int, height: int, rows: int = 10) -> bytes:
    """A PNG whose head promises far more than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes((1 + 3 * min(width, 1000)) * rows), 9))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("image.jpg", bytes(1000))
    return buffer.getvalue()


def rescanned(times: int) -> bytes:
    """A progressive JPEG whose last scan, which adds nothing any more, comes again and again."""
    content = encoded(noise(64, 64), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + times * content[last:-2] + content[-2:]


def tiff_in_tiles_of(side: int) -> bytes:
    """A TIFF of 100 x 100 pixels whose one tile is that large."""
    entries = [(256, 100), (257, 100), (258, 8), (259, 5), (262, 1), (277, 1), (322, side), (323, side)]
    entries += [(324, 0), (325, 8)]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(12)


def hostile() -> dict[str, bytes]:
    picture = noise(120, 90)
    whole = {kind: encoded(picture, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "PPM")}
    whole["TIFF"] = encoded(picture, "TIFF", compression="tiff_lzw")
    whole["progressive"] = encoded(picture, "JPEG", progressive=True)
    cut = {
        f"{kind} cut to {share:.0%}": content[: int(len(content) * share)]
        for kind, content in whole.items()
        for share in (0.02, 0.3, 0.8)
    }
    dice = np.random.default_rng(0)
    bombs = {
        "png of 30,000 x 30,000": png_that_claims(30_000, 30_000),
        "png of 2,000,000,000 pixels a row": png_that_claims(2_000_000_000, 1),
        "png of nothing": png_that_claims(0, 0),
        "gif of 65,535 x 65,535": b"GIF89a\xff\xff\xff\xff\x00\x00\x00;",
        "bmp of minus one": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, -1, -1, 1, 24, 0, 0, 0, 0, 0, 0),
        "jpeg of 65,535 x 65,535": encoded(picture, "JPEG").replace(b"\x00\x5a\x00\x78", b"\xff\xff\xff\xff", 1),
        "jpeg of 500 scans": rescanned(500),
        "tiff of one huge tile": tiff_in_tiles_of(40_000),
        "ppm of 10 digits": b"P6 9999999999 9999999999 255 ",
        "png in a png's text": b"\x89PNG\r\n\x1a\n" + b"\x00" * 300,
    }
    others = {
        "nothing": b"",
        "one byte": b"\xff",
        "text": b"hello",
        "script": b"<script>alert(1)</script>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "xml bomb": b'<!DOCTYPE a [<!ENTITY b "ccc">]><a>&b;</a>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "pdf": b"%PDF-1.4\n1 0 obj<<>>endobj",
        "zip": zipped(),
        "gzip": b"\x1f\x8b\x08" + bytes(100),
        "program": b"\x7fELF" + bytes(200),
        "pickle": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
        "numpy": b"\x93NUMPY\x01\x00" + bytes(200),
        "gif that is a script": b"GIF89a=1;alert(document.domain);//" + bytes(20),
        "jpeg that is php": b"\xff\xd8\xff\xe0<?php system($_GET['c']); ?>" + bytes(50),
        "png that is html": b"\x89PNG\r\n\x1a\n<html><script>alert(1)</script>",
        "pdf in a jpeg's head": b"\xff\xd8\xff\xe0%PDF-1.4" + bytes(100),
        "mp4": b"\x00\x00\x00\x18ftypmp42" + bytes(100),
        "zeros": bytes(10_000),
    }
    random = {f"noise {n}": dice.integers(0, 256, 3000, dtype=np.uint8).tobytes() for n in range(4)}
    heads = (b"\xff\xd8\xff\xdb", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x10\x00\x00WEBPVP8 ", b"II*\x00\x08\x00\x00\x00")
    masked = {f"{head!r} and noise": head + dice.integers(0, 256, 2000, dtype=np.uint8).tobytes() for head in heads}
    return cut | bombs | others | random | masked


def test_hostile_uploads_are_refused_one_by_one_and_it_goes_on(client: TestClient, photo: bytes) -> None:
    wrong: dict[str, Any] = {}
    for name, content in hostile().items():
        for answer in (
            client.post("/predict", content=content, headers=JPEG),
            client.post("/predict", files={"files": (name, content)}),
        ):
            status, code = refusal(answer) if answer.status_code != 200 else (200, "ok")
            if not 400 <= status < 500:
                wrong[name] = status, code
    assert not wrong
    assert client.post("/predict", content=photo, headers=JPEG).json()["predictions"][0]["label"] == "red"


def test_a_thousand_damaged_uploads_are_each_answered(client: TestClient, photo: bytes) -> None:
    """Cut off anywhere: refused. With some bytes written over: refused, or seen if it is still an image."""
    dice = np.random.default_rng(1)
    picture = noise(60, 40)
    whole = [encoded(picture, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "PPM")]
    wrong = []
    for number in range(1000):
        content = bytearray(whole[number % len(whole)])
        if number < 500:
            del content[int(len(content) * dice.uniform(0.0, 0.9)) :]
        else:
            for place in dice.integers(0, len(content), 8):
                content[place] = dice.integers(0, 256)
        answer = client.post("/predict", content=bytes(content), headers=JPEG)
        status = answer.status_code if answer.status_code == 200 else refusal(answer)[0]
        if not (400 <= status < 500 or (status == 200 and number >= 500)):
            wrong.append((number, status))
    assert not wrong
    assert client.post("/predict", content=photo, headers=JPEG).json()["predictions"][0]["label"] == "red"


def test_hostile_forms_are_refused_and_it_goes_on(client: TestClient, photo: bytes) -> None:
    line, kind = b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}
    forms = {
        "no part": b"",
        "only an end": b"--x--\r\n",
        "no name": line + b"Content-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n",
        "a field and no file": line + b'Content-Disposition: form-data; name="a"\r\n\r\nabc\r\n--x--\r\n',
        "no end": line + b'Content-Disposition: form-data; name="a"; filename="b"\r\n\r\n' + photo[:50],
        "another boundary": b"--y\r\n\r\n--y--",
        "a head without end": line + b"A" * 50_000,
        "two thousand fields": 2000 * (line + b'Content-Disposition: form-data; name="a"\r\n\r\n1\r\n') + b"--x--\r\n",
    }
    for name, body in forms.items():
        status, _ = refusal(client.post("/predict", content=body, headers=kind))
        assert 400 <= status < 500, name
    named = b'Content-Disposition: form-data; name="a"; filename="../../etc/\xff\xfe\x00+2AA-"\r\n\r\n'
    for charset in ("utf-8", "utf-7", "unicode_escape", "rot13", "no-such"):
        sent = line + named + photo + b"\r\n--x--\r\n"
        odd = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
        answer = client.post("/predict", content=sent, headers=odd)
        assert answer.status_code == 200 or 400 <= refusal(answer)[0] < 500, charset
    assert client.post("/predict", content=photo, headers=JPEG).status_code == 200


def test_an_image_with_something_behind_it_is_read_as_an_image(client: TestClient, photo: bytes) -> None:
    """Telephones put films behind their photos; whatever it is, only the pixels are looked at."""
    answer = client.post("/predict", content=photo + zipped(), headers=JPEG)
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["label"] == "red"


def test_bombs_of_other_kinds_are_refused_by_what_they_are(client: TestClient) -> None:
    """They claim few pixels, and take minutes or gigabytes."""
    for content, code in ((rescanned(500), "too_many_scans"), (tiff_in_tiles_of(40_000), "too_many_pixels")):
        assert refusal(client.post("/predict", content=content, headers=JPEG)) == (413, code)
    assert client.post("/predict", content=rescanned(3), headers=JPEG).status_code == 200
