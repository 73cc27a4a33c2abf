"""Exported files: the same answers from another runtime, in a process of its own; what is worse is not handed over."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from scrimp import cli
from scrimp.errors import UnknownName, WeightsError
from scrimp.models import build
from scrimp.models.fusing import fused
from scrimp.models.saved import load_model
from scrimp.serving import export, exporting, predict
from scrimp.serving.exporting import Tried, _hold_to_word, agreement
from scrimp.serving.predicting import Predictor

FORMATS = ("onnx", "onnx-int8", "torchscript")


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run that may be written to."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.fixture(autouse=True)
def _model_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model itself, which is the same in all tests, does not need a process for each of them."""

    def try_(format, file, ready, rows):
        if format != "safetensors" or file.parent.name != "run":
            return really_try(format, file, ready, rows)
        if not _TRIED:
            _TRIED.append(really_try(format, file, ready, rows))
        return _TRIED[0]

    really_try = exporting._try
    monkeypatch.setattr(exporting, "_try", try_)


_TRIED: list[tuple[np.ndarray, float, float]] = []


def test_what_a_killed_export_left_is_taken_away(folder: Path) -> None:
    (folder / ".export-999999999-abc").mkdir()
    export(folder, format="safetensors")
    assert not list(folder.glob(".export-*"))


def some_pixels(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)


def outputs_of(folder: Path, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return load_model(folder).model(torch.from_numpy(pixels)).numpy()


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_gives_what_the_model_gives(format: str, folder: Path, tmp_path: Path, photos: Path) -> None:
    if format.startswith("onnx"):
        pytest.importorskip("onnxscript", reason="needs the onnx extra")
    out = folder if format.startswith("onnx") else tmp_path / "elsewhere"
    made = export(folder, format=format, out=out)
    assert made.path == out / exporting.FILES[format]
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == [], "nothing is left over"
    assert json.loads((out / "model.json").read_text())["classes"] == ["blue", "green", "red"]
    assert made.test_images == 9
    assert made.exported.mb == pytest.approx(made.path.stat().st_size / 1e6)
    assert min(made.exported.ms_per_image, made.exported.images_per_second, made.model.ms_per_image) > 0
    assert made.exported.agreement >= 8 / 9
    assert made.lost <= 1
    if format == "onnx-int8":
        assert "42 training images" in made.notes[0]
        (one,) = predict(folder, [str(photos / "blue" / "000.jpg")], runtime="onnx-int8")
        assert one.label == "blue"
    elif format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(made.path))
        for n in (1, 5):
            np.testing.assert_allclose(
                session.run(None, {"pixels": some_pixels(n)})[0],
                outputs_of(folder, some_pixels(n)),
                rtol=1e-3,
                atol=1e-4,
            )
        assert json.loads(session.get_modelmeta().custom_metadata_map["scrimp"])["classes"] == ["blue", "green", "red"]
        alone, exported = (predict(folder, [str(photos)], runtime=runtime) for runtime in ("torch", "onnx"))
        assert [one.label for one in alone] == [one.label for one in exported]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch would rather have its newer formats used
            model = torch.jit.load(str(made.path))
        pixels = some_pixels(5)
        outputs = model(torch.from_numpy(pixels)).numpy()
        np.testing.assert_allclose(outputs, outputs_of(folder, pixels), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("format", ["onnx", "onnx-int8"])
def test_a_file_that_was_made_of_earlier_weights_is_not_run(format: str, folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    export(folder, format=format, most_lost=100)
    assert Predictor(folder, runtime=format).classes
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(facts | {"weights_sha256": "of others"}))
    with pytest.raises(WeightsError, match=rf"made of other weights .* scrimp export .* --format {format}"):
        Predictor(folder, runtime=format)


def test_a_file_that_is_another_model_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_model(model, image_px, facts, file):
        torch.manual_seed(0)
        torch.jit.trace(build("simple_cnn", classes=3, image_px=32, pretrained=False).eval(), some()).save(str(file))

    def some() -> torch.Tensor:
        return torch.from_numpy(some_pixels(2))

    monkeypatch.setattr(exporting, "_write_torchscript", other_model)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(WeightsError, match=r"broken: it answers .* of 9 test images otherwise"):
        export(folder, format="torchscript", most_lost=100)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_file_that_is_worse_than_said_is_refused() -> None:
    def exported(now: float, agreement: float, format: str) -> exporting.Exported:
        model, file = Tried("a", 1, 1, 1, 0.9, 1), Tried("b", 1, 1, 1, now, agreement)
        return exporting.Exported(Path("b"), format, "classify", model, file, 100, ())

    for fine in (exported(0.9, 1, "onnx"), exported(0.895, 0.9, "onnx-int8"), exported(0.95, 0.999, "onnx")):
        _hold_to_word(fine, 1)
    with pytest.raises(WeightsError, match=r"its accuracy is 88.0%, the model's 90.0%; 1 points may be lost"):
        _hold_to_word(exported(0.88, 0.97, "onnx-int8"), 1)
    _hold_to_word(exported(0.88, 0.97, "onnx-int8"), 3)
    with pytest.raises(WeightsError, match=r"broken: it answers 2.0% of 100 test images otherwise"):
        _hold_to_word(exported(0.9, 0.98, "onnx"), 1)


def test_a_file_that_does_not_run_by_itself_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_write_torchscript", lambda model, px, facts, file: file.write_bytes(b"nothing"))
    with pytest.raises(WeightsError, match=r"'model.torchscript.pt' cannot be run by itself: .*"):
        export(folder, format="torchscript")
    assert not (folder / "model.torchscript.pt").exists()


def test_an_unknown_format(folder: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'onnx-int8'"):
        export(folder, format="onnx-in8")


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_0"])
def test_fusing_leaves_the_answers_as_they_are(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, classes=4, image_px=64, pretrained=False).eval()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # as after training, not as before it
            torch.nn.init.normal_(part.running_mean, std=0.1)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    quick = fused(model)
    with torch.inference_mode():
        torch.testing.assert_close(quick(pixels), model(pixels), rtol=1e-3, atol=1e-4)
    norms = sum(isinstance(part, torch.nn.BatchNorm2d) for part in quick.modules())
    assert norms == 0
    assert all(not one.requires_grad for one in quick.parameters())
    assert all(one.requires_grad for one in model.parameters()), "it is a copy"


def test_agreement_by_hand() -> None:
    expected = np.array([[2.0, 1, 0], [0, 2, 1], [0, 1, 2], [5, 0, 0]], dtype=np.float32)
    outputs = np.array([[9.0, 1, 0], [0, 2, 3], [0, 1, 2], [5, 4, 0]], dtype=np.float32)
    assert agreement(outputs, expected, "classify") == 0.75
    signs = np.array([[1, -1], [1, -1], [-1, -1], [3, 2]], dtype=np.float32)
    assert agreement(signs * [[2, 2], [2, -2], [1, 1], [1, 1]], signs, "multilabel") == 0.75
    targets = np.array([[0.0], [100.0]], dtype=np.float32)  # their standard deviation is 50
    assert agreement(targets + np.array([[0.4], [0.6]]), targets, "regress") == 0.5
    assert agreement(np.full_like(outputs, np.nan), expected, "classify") == 0


def test_the_command_prints_the_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder.parent / "elsewhere"
    command = ["scrimp", "export", str(folder), "--format", "safetensors", "--out", str(out), "--json"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert (told["exported"]["file"], told["exported"]["agreement"]) == ("model.safetensors", 1)
    assert told["lost"] == 0
    np.testing.assert_array_equal(outputs_of(out, some_pixels(5)), outputs_of(folder, some_pixels(5)))
    tried = Tried("m", 1, 2, 3, 0.5, 1)
    cli.showing.print_export(exporting.Exported(Path("x"), "onnx", "classify", tried, tried, 9, ("A note.",)))
    shown = capsys.readouterr().out
    assert "50.0%" in shown
    assert "A note." in shown
