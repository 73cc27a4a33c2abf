"""The page: what it says of an image and of the model, and that it works in a real browser."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from serve_tools import Served, encoded, noise

from scrimp.serving.page import card_of, examples_in, shown_for
from scrimp.serving.predicting import Predictor
from scrimp.serving.service import Limits, Refused, Service


@pytest.fixture
def service(predictor: Predictor) -> Service:
    return Service(predictor, Limits(megapixels=1))


def test_what_is_shown_for_a_file(service: Service, photos: Path, tmp_path: Path) -> None:
    answer, heat, took = shown_for(service, str(photos / "green" / "001.jpg"), heat=False)
    assert max(answer, key=answer.get) == "green"
    assert sum(answer.values()) == pytest.approx(1, abs=1e-5)
    assert heat is None
    assert "ms" in took
    assert shown_for(service, None, heat=True) == ({}, None, "")
    (tmp_path / "broken.png").write_bytes(encoded(noise(90, 90), "PNG")[:500])
    with pytest.raises(Refused, match="cannot be decoded"):
        shown_for(service, str(tmp_path / "broken.png"), heat=False)
    assert service._taken == 0


def test_the_heat_map_lies_over_what_the_model_saw(service: Service, photos: Path) -> None:
    _, heat, took = shown_for(service, str(photos / "green" / "001.jpg"), heat=True)
    assert heat is not None
    assert (heat.shape, heat.dtype) == ((320, 320, 3), np.uint8), "large enough to be seen"
    assert "heat map in" in took


def test_the_card_tells_what_is_known(run_folder: Path, tmp_path: Path) -> None:
    card = card_of(run_folder)
    for part in (
        "ultralight, from scratch",
        "42 images",
        "% top-1, 9 images",
        "parameters",
        "energy not measured",
        "no price given",
    ):
        assert part in card, part
    for name in ("model.json", "model.safetensors"):
        shutil.copy(run_folder / name, tmp_path)
    assert "There is no `result.json`" in card_of(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    assert "of another version" in card_of(tmp_path), "a model is served whatever is known of it"


def test_examples_are_cut_from_the_contact_sheet(run_folder: Path, tmp_path: Path) -> None:
    tiles = examples_in(run_folder, tmp_path)
    assert len(tiles) == 3, "one a class"
    shades = {}
    for name, tile in zip(("blue", "green", "red"), tiles, strict=True):
        with Image.open(tile) as image:
            assert image.size == (96, 96)
            shades[name] = np.asarray(image).mean((0, 1))
    assert [int(shades[name].argmax()) for name in ("red", "green", "blue")] == [0, 1, 2]
    assert examples_in(tmp_path, tmp_path) == [], "a folder may hold the model alone"


# ---------------------------------------------------------------- in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.server
@pytest.mark.skipif(CHROMIUM is None or find_spec("playwright") is None, reason="needs Chromium and playwright")
def test_the_page_in_a_browser(served: Served, photos: Path, tmp_path: Path) -> None:
    """An image is dropped, the answer and the heat map appear; an example is clicked; a broken file is told."""
    from playwright.sync_api import expect, sync_playwright

    asked: list[str] = []
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--no-proxy-server"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served.url)
        answer = page.get_by_test_id("label-output-value")
        page.locator("input[type=file]").first.set_input_files(str(photos / "red" / "001.jpg"))
        expect(answer).to_have_text("red", timeout=60_000)
        expect(page.get_by_text("Seen in")).to_be_visible()
        page.wait_for_function("[...document.images].some(image => image.naturalWidth === 320)")  # the heat map's
        page.locator(".gallery-item").first.click()
        expect(answer).to_have_text("blue", timeout=60_000)
        page.get_by_text("What this model is").click()
        expect(page.get_by_text("ultralight, from scratch")).to_be_visible()
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        browser.close()
    elsewhere = [url for url in asked if not url.startswith((served.url, "data:", "blob:"))]
    assert not elsewhere, "the page works without the rest of the world"


def ask_page(served: Served, path: str) -> httpx.Response:
    """What the page's own event answers for a file that a request names."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return httpx.post(f"{served.url}/gradio_api/run/predict", json={"data": [file, False]})


def test_the_page_gives_out_no_file_that_a_request_names(served: Served, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("of nobody's business")
    told = ask_page(served, str(secret))
    assert told.status_code == 500
    assert "Cannot move" in told.text, told.text
    assert httpx.get(f"{served.url}/gradio_api/file={secret}").status_code in (403, 404)


def test_the_page_reads_what_was_uploaded_to_it(served: Served, photo: bytes) -> None:
    files = {"files": ("red.jpg", photo, "image/jpeg")}
    [path] = httpx.post(f"{served.url}/gradio_api/upload", files=files).json()
    assert ask_page(served, path).json()["data"][0]["label"] == "red"


def test_the_page_takes_no_more_than_programs_may_send(served: Served) -> None:
    files = [("files", (f"{n}.jpg", bytes(8_000_000), "image/jpeg")) for n in range(3)]  # 20 MB are allowed
    assert httpx.post(f"{served.url}/gradio_api/upload", files=files).status_code >= 400
    too_much = b'{"data": ["' + b"x" * 21_000_000 + b'"]}'
    assert httpx.post(f"{served.url}/gradio_api/run/predict", content=too_much).status_code >= 400
    assert httpx.get(served.url).status_code == 200
