"""A trained model as a file for other programs, tried by its own runtime before it is handed over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from scrimp.batches import Prepared
from scrimp.errors import ImageError, MissingExtra, ScrimpError, SettingError, StorageError, UnknownName, WeightsError
from scrimp.images.kinds import Task
from scrimp.meter import Run, load_run
from scrimp.models import Classifier
from scrimp.models.saved import load_model, read_facts
from scrimp.scores import MEASURES, score, unscorable
from scrimp.serving import trial
from scrimp.serving.predicting import ONNX_FILES, THRESHOLD, folder_of
from scrimp.store import write_whole
from scrimp.sweeping import found_again

Format = Literal["onnx", "onnx-int8", "torchscript", "safetensors"]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FILES = {**ONNX_FILES, "torchscript": "model.torchscript.pt", "safetensors": "model.safetensors"}
"""What each format is called in the folder it is written to."""

CALIBRATION_IMAGES = 256
"""Training images, drawn by chance, whose activations set the ranges of eight-bit numbers."""

_CHOOSING_IMAGES = 512  # of val, by which the ranges are chosen
_BATCH = 32
_OPSET = 18
_MOST_DIFFERENT = 1e-3  # share of images that a file of floats may answer otherwise: ties within rounding
_RANGES: dict[str, dict[str, Any]] = {
    "the smallest and largest activations": {},
    "means over batches of the smallest and largest activations": {"CalibMovingAverage": True},
}


class Tried(NamedTuple):
    """A file as its own runtime ran it, in a process of its own, on this machine's CPU.

    mb: bytes / 1e6. ms_per_image: median, one image at a time. images_per_second: 32 at a time. merit: on test, the
    figure that the task is measured by (`scrimp.scores`). agreement: share of test images that the model itself answers
    in the same way: with the same class, with the same labels, or with a target within 1 % of the targets' spread.
    """

    file: str
    mb: float
    ms_per_image: float
    images_per_second: float
    merit: float
    agreement: float


class Exported(NamedTuple):
    """A file that was written, and how it did beside the model it was made from.

    test_images: how many both were tried on. notes: what the user should know.
    """

    path: Path
    format: Format
    task: Task
    model: Tried
    exported: Tried
    test_images: int
    notes: tuple[str, ...]

    @property
    def lost(self) -> float:
        """Points (hundredths) of the task's measure that the file has lost on test."""
        return 100 * (self.model.merit - self.exported.merit)


def export(
    run: Run | str | Path, *, format: Format = "onnx", out: str | Path | None = None, most_lost: float = 1.0
) -> Exported:
    """Writes a trained model as a file that takes raw pixels, and tries that file on the test images.

    format: "onnx"; "onnx-int8", eight-bit numbers by static quantisation, its ranges from training images and chosen on
    val; "torchscript"; or "safetensors", the weights as they are. Files take uint8 pixels (n, 3, image_px, image_px),
    normalise them themselves and give what `Loaded` explains; `model.json` lies beside them, and is inside ONNX and
    TorchScript files too. out: a folder, the run's own by default. most_lost: points of accuracy, mAP or R² that may be
    lost on test.

    Raises `WeightsError` for a file that cannot be made or run, or that is worse than said: then nothing is left of it.
    `MissingExtra` without the `onnx` extra; what `find_images` raises where the run's images are gone.
    Cost: the run's images prepared if they are not in the cache, and two passes over the test images; for int8 also one
    over 256 training images and two over up to 512 of val.
    """
    if format not in get_args(Format):
        raise UnknownName("export format", format, get_args(Format))
    if not 0 <= most_lost <= 100:
        raise SettingError(f"most_lost={most_lost:g} must be from 0 to 100 points.")
    if format in ONNX_FILES and not (find_spec("onnxruntime") and find_spec("onnxscript") and find_spec("onnx")):
        raise MissingExtra("Exporting to ONNX", "onnx")
    folder = folder_of(run)
    known = run if isinstance(run, Run) else load_run(folder)
    loaded = load_model(folder)
    ready, changed = found_again(known)
    if loaded.classes != ready.images.classes:
        raise ImageError(f"'{known.plan.images.source}' has other classes now than when '{folder}' was trained.")
    target, facts = Path(out or folder), read_facts(folder)
    with _scratch_in(target) as scratch:
        file = scratch / FILES[format]
        write_whole(scratch / "model.json", json.dumps(facts, indent=1, ensure_ascii=False).encode())
        try:
            with _quietly():
                notes = _write(format, loaded.model, loaded.image_px, facts, folder, file, ready)
        except Exception as error:  # what an exporter stumbles over has no bounds
            raise WeightsError(f"A {loaded.model.name} cannot be written as {format}: {_first_line(error)}") from error
        exported = _compared(known, folder, format, file, target, ready, notes + changed)
        _hold_to_word(exported, most_lost)
        for made in (file, scratch / "model.json"):
            made.replace(target / made.name)
    return exported


@contextmanager
def _scratch_in(target: Path) -> Iterator[Path]:
    """A folder on the same disk, so that what was made in it can be renamed; gone after the block."""
    import psutil

    try:
        target.mkdir(parents=True, exist_ok=True)
        for left in target.glob(".export-*-*"):  # of one that was killed
            pid = left.name.split("-")[1]
            if pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(left, ignore_errors=True)
        scratch = tempfile.TemporaryDirectory(dir=target, prefix=f".export-{os.getpid()}-")
    except OSError as error:
        raise StorageError(f"'{target}' cannot be written: {error}. Name another folder with --out.") from None
    with scratch as name:
        yield Path(name)


@contextmanager
def _quietly() -> Iterator[None]:
    """Exporters warn of what is tried afterwards, and print."""
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# ---------------------------------------------------------------- writing


def _write(
    format: Format,
    model: Classifier,
    image_px: int,
    facts: dict[str, Any],
    folder: Path,
    file: Path,
    ready: Prepared,
) -> tuple[str, ...]:
    if format == "safetensors":
        shutil.copyfile(folder / "model.safetensors", file)
        return ()
    if format == "torchscript":
        _write_torchscript(model, image_px, facts, file)
        return ()
    if format == "onnx":
        _write_onnx(model, image_px, facts, file)
        return ()
    floats = file.with_name("floats.onnx")
    _write_onnx(model, image_px, facts, floats)
    return _quantise(floats, facts, file, ready)


def _example(image_px: int) -> Any:
    import torch

    return torch.zeros(2, 3, image_px, image_px, dtype=torch.uint8)  # one would pass for a constant


def _write_torchscript(model: Classifier, image_px: int, facts: dict[str, Any], file: Path) -> None:
    import torch

    from scrimp.models.fusing import fused

    traced = torch.jit.trace(fused(model), _example(image_px), check_trace=False)  # type: ignore[no-untyped-call]
    frozen: Any = torch.jit.freeze(traced.eval())
    frozen.save(str(file), _extra_files={"model.json": json.dumps(facts, ensure_ascii=False)})


def _write_onnx(model: Classifier, image_px: int, facts: dict[str, Any], file: Path) -> None:
    import torch

    from scrimp.models.fusing import fused

    torch.onnx.export(
        fused(model),
        (_example(image_px),),
        str(file),
        input_names=["pixels"],
        output_names=["outputs"],
        opset_version=_OPSET,
        dynamo=True,
        dynamic_shapes={"pixels": {0: torch.export.Dim("n")}},
        external_data=False,
        verbose=False,
    )
    _sign(file, facts)


def _sign(file: Path, facts: dict[str, Any]) -> None:
    """Puts model.json into the file itself, under the key "scrimp"."""
    import onnx

    proto = onnx.load(str(file))
    onnx.helper.set_model_props(proto, {"scrimp": json.dumps(facts, ensure_ascii=False)})
    onnx.checker.check_model(proto)
    onnx.save(proto, str(file))


def _quantise(floats: Path, facts: dict[str, Any], file: Path, ready: Prepared) -> tuple[str, ...]:
    """Writes the file with those ranges with which it agrees most with the floats, on images of val."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    simple = floats.with_name("simple.onnx")
    quant_pre_process(str(floats), str(simple), skip_symbolic_shape=True)
    train, val = ready.images.rows("train"), ready.images.rows("val")
    drawn = np.random.default_rng(0).permutation(train)[:CALIBRATION_IMAGES]
    judged = val[:: -(-len(val) // _CHOOSING_IMAGES)]
    expected = _outputs_of(simple, ready, judged)
    agreements: dict[str, float] = {}
    for name, options in _RANGES.items():
        candidate = file.with_name(f"candidate{len(agreements)}.onnx")
        quantize_static(
            str(simple),
            str(candidate),
            _reader_of(ready, drawn),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options=options,
        )
        agreements[name] = agreement(_outputs_of(candidate, ready, judged), expected, facts["task"])
        if agreements[name] >= max(agreements.values()):
            candidate.replace(file)
            chosen = name
    _sign(file, facts)
    told = f"Ranges of {len(drawn):,} training images: {chosen}, which agree on {agreements[chosen]:.1%} of"
    return (f"{told} {len(judged):,} val images.",)


def _reader_of(ready: Prepared, rows: npt.NDArray[np.int64]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = _batches(ready, rows, 16)

        def get_next(self) -> dict[str, Pixels] | None:
            return next(({"pixels": pixels} for pixels in self._batches), None)

    return Reader()


def _outputs_of(file: Path, ready: Prepared, rows: npt.NDArray[np.int64]) -> Floats:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"pixels": pixels})[0] for pixels in _batches(ready, rows, _BATCH)])


def _batches(ready: Prepared, rows: npt.NDArray[np.int64], size: int) -> Iterator[Pixels]:
    for start in range(0, len(rows), size):
        yield np.ascontiguousarray(ready.pixels[rows[start : start + size]].transpose(0, 3, 1, 2))


# ---------------------------------------------------------------- trying


def _compared(
    run: Run, folder: Path, format: Format, file: Path, target: Path, ready: Prepared, notes: tuple[str, ...]
) -> Exported:
    images = ready.images
    rows = images.rows("test")
    if why := unscorable(images.task, images.labels[rows]):
        raise ImageError(f"The {len(rows):,} test images of '{run.plan.images.source}' cannot try an export: {why}.")
    ours = folder / FILES["safetensors"]
    outputs, *seconds = _try(format, file, ready, rows)
    expected, *own_seconds = _try("safetensors", ours, ready, rows)

    def tried(file: Path, outputs: Floats, one: float, together: float) -> Tried:
        return Tried(
            file=file.name,
            mb=file.stat().st_size / 1e6,
            ms_per_image=1000 * one,
            images_per_second=_BATCH / together,
            merit=score(images.task, images.labels[rows], outputs, len(images.classes)).merit,
            agreement=agreement(outputs, expected, images.task),
        )

    model, exported = tried(ours, expected, *own_seconds), tried(file, outputs, *seconds)
    return Exported(target / file.name, format, images.task, model, exported, len(rows), notes)


def _try(format: Format, file: Path, ready: Prepared, rows: npt.NDArray[np.int64]) -> tuple[Floats, float, float]:
    """Outputs of the rows, and the seconds of one image and of a batch, in a fresh process of the file's runtime."""
    home = str(Path(trial.__file__).parents[2])  # where the runtime of safetensors, which is ours, lies
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", trial.__file__, format, str(file.resolve())]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env={**os.environ, "PYTHONPATH": paths}
        ) as process,
    ):
        ask = _asker(process)
        try:
            first = np.arange(_BATCH) % len(ready.images)
            one, together = ask(next(_batches(ready, first, _BATCH))).tolist()
            outputs = np.concatenate([ask(pixels) for pixels in _batches(ready, rows, _BATCH)])
        except ScrimpError:  # of an image
            process.kill()
            raise
        except (OSError, ValueError):  # the pipe broke, or what came was no array
            process.kill()
            process.wait()
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise WeightsError(
                f"'{file.name}' cannot be run by itself: {''.join(last) or 'it does not say why'}"
            ) from None
        process.stdin.close()  # type: ignore[union-attr]
    return outputs, one, together


def _asker(process: subprocess.Popen[bytes]) -> Callable[[Pixels], Floats]:
    assert process.stdin
    assert process.stdout
    there, back = process.stdin, process.stdout

    def ask(pixels: Pixels) -> Floats:
        trial.send(there, pixels)
        return trial.receive(back)

    return ask


def agreement(outputs: Floats, expected: Floats, task: Task) -> float:
    """Share of images (n, outputs) that both answer in the same way; of targets, within 1 % of their spread."""
    if not np.isfinite(outputs).all():
        return 0.0
    if task == "classify":
        same = outputs.argmax(1) == expected.argmax(1)
    elif task == "multilabel":
        level = np.log(THRESHOLD / (1 - THRESHOLD))
        same = ((outputs >= level) == (expected >= level)).all(1)
    else:
        same = (np.abs(outputs - expected) <= 0.01 * expected.std()).all(1)
    return float(same.mean())


def _hold_to_word(exported: Exported, most_lost: float) -> None:
    """Refuses a file that is worse than what was said of it."""
    file, measure = exported.exported, MEASURES[exported.task]
    was, now = measure.text(exported.model.merit), measure.text(file.merit)
    found = f"on {exported.test_images:,} test images its {measure.word} is {now}, the model's {was}"
    if exported.lost > most_lost:
        raise WeightsError(
            f"The {exported.format} file is worse than it may be: {found}; {most_lost:g} points may be lost. "
            "Nothing was written: take another format, or allow more with --most-lost."
        )
    if exported.format != "onnx-int8" and file.agreement < 1 - _MOST_DIFFERENT:
        raise WeightsError(
            f"The {exported.format} file is broken: it answers {1 - file.agreement:.1%} of "
            f"{exported.test_images:,} test images otherwise than the model, and {found}. Nothing was written."
        )
