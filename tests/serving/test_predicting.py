"""Predictions for files and folders: right, in order, by one process or several, whatever some of them hold."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scrimp import cli
from scrimp.errors import NotFound, SettingError
from scrimp.models.saved import load_model
from scrimp.serving import predict
from scrimp.serving.predicting import Prediction, Predictor, to_csv


@pytest.fixture
def mixed(photos: Path, tmp_path: Path) -> Path:
    """A folder of 60 photos, one that is broken, and a note."""
    folder = tmp_path / "mixed"
    shutil.copytree(photos, folder)
    (folder / "blue" / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_a_folder_with_bad_files_in_it(run_folder: Path, mixed: Path) -> None:
    told: list[str] = []
    answers = predict(
        run_folder, [str(mixed), str(mixed / "red" / "000.jpg"), str(mixed / "gone.jpg")], tell=told.append
    )
    assert [Path(answer.image).name for answer in answers[:2]] == ["000.jpg", "001.jpg"]
    assert len(answers) == 61 + 2
    broken = [answer for answer in answers if answer.error]
    assert [Path(answer.image).name for answer in broken] == ["broken.jpg", "gone.jpg"]
    right = [answer.label == Path(answer.image).parent.name for answer in answers if not answer.error]
    assert np.mean(right) > 0.95, "six epochs are enough for three colours"
    assert "1 of 62 files" in told[0]
    assert "notes.txt" in told[0]


def test_several_processes_say_the_same(run_folder: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scrimp.serving.predicting._SHARE", 25)
    alone, together = (predict(run_folder, [str(mixed)], processes=n) for n in (1, 2))
    assert [answer.image for answer in alone] == [answer.image for answer in together]
    assert [answer.error for answer in alone] == [answer.error for answer in together]
    for one, other in zip(alone, together, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    with pytest.raises(SettingError, match="processes=0"):
        predict(run_folder, [str(mixed)], processes=0)


def test_predictions_are_the_models_own(run_folder: Path, photos: Path) -> None:
    """Against the model as it was saved, without fusing, on the middle square that Pillow alone cuts out."""
    file = photos / "green" / "003.jpg"
    with Image.open(file) as opened:
        square = opened.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR, box=(4, 0, 44, 40))
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None]
    model, classes, *_ = load_model(run_folder)
    with torch.inference_mode():
        expected = dict(zip(classes, model(pixels)[0].softmax(0).tolist(), strict=True))
    (answer,) = predict(run_folder, [str(file)])
    assert answer.probabilities == pytest.approx(expected, abs=1e-4)


def test_a_file_that_was_never_exported(run_folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(NotFound, match=r"scrimp export .* --format onnx-int8"):
        Predictor(run_folder, runtime="onnx-int8")


def test_a_table_of_predictions() -> None:
    answers = [
        Prediction("a,b.jpg", {"cat": 0.75, "a dog": 0.25}, label="cat"),
        Prediction("c.jpg", {}, error="'c.jpg' is\nbroken"),
        Prediction("d.jpg", {"a dog": 0.9, "cat": 0.6}, labels=("a dog", "cat")),
    ]
    first, second, third = csv.DictReader(to_csv(answers).splitlines(keepends=True))
    assert first == {
        "image": "a,b.jpg", "label": "cat", "probability": "0.75", "labels": "", "target": "", "error": "",
        "p(a dog)": "0.25", "p(cat)": "0.75",
    }  # fmt: skip
    assert (second["error"], second["p(cat)"]) == ("'c.jpg' is\nbroken", "")
    assert third["labels"] == "a dog;cat"
    (number,) = csv.DictReader(to_csv([Prediction("e.jpg", {}, target=2.5)]).splitlines())
    assert number["target"] == "2.5"


def test_the_command_writes_the_table(
    run_folder: Path, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out.csv"
    monkeypatch.setattr(sys, "argv", ["scrimp", "predict", str(run_folder), str(mixed), "--csv", str(out)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1, "one is broken"
    assert "61 images, of which 1 could not be read" in capsys.readouterr().out
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 61
    assert sum(row["label"] == "red" for row in rows) in (19, 20, 21)
