"""A trained model and images in; a class, labels or a number out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cached_property
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from scrimp import store
from scrimp.batches import square
from scrimp.batches.reading import square_of_file
from scrimp.cores import cores
from scrimp.errors import ImageError, MissingExtra, NotFound, SettingError, StorageError, WeightsError
from scrimp.images.folder import is_image_name
from scrimp.images.kinds import Task
from scrimp.meter import Run
from scrimp.models.saved import BOXED, load_model, read_facts
from scrimp.progress import bar, be_silent

if TYPE_CHECKING:
    from scrimp.models import Classifier

Runtime = Literal["torch", "onnx", "onnx-int8"]
"""What runs the model: PyTorch, or ONNX Runtime on a file that `export` has written into the run folder."""

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

ONNX_FILES = {"onnx": "model.onnx", "onnx-int8": "model.int8.onnx"}

THRESHOLD = 0.5
"""A label counts as present from this probability on."""

_TOGETHER = 32  # images in a batch: more are hardly faster on a CPU
_SHARE = 256  # files handed to a process at a time: its threads read ahead within these


class Prediction(NamedTuple):
    """What a model sees in one image, or why it saw nothing; what is not of the model's task is None.

    probabilities: of every class or label, highest first. label: the most likely class (classify). labels: those at
    `THRESHOLD` and above, most likely first (multilabel). target: the number, in the unit of the targets (regress).
    """

    image: str
    probabilities: dict[str, float]
    label: str | None = None
    labels: tuple[str, ...] | None = None
    target: float | None = None
    error: str | None = None


class Predictor:
    """A model of a run folder, loaded once, on the CPU.

    runtime: what runs it. threads: for ONNX Runtime; PyTorch's are those of the process.
    Raises what `load_model` raises, `NotFound` where the exported file is missing, and `WeightsError` where it was made
    of other weights than the folder holds now.

    Attributes:
        folder: the run's.
        name, task, classes, image_px, boxed: as in model.json.
        outputs: float32 (n, outputs) of uint8 pixels (n, 3, image_px, image_px), as `Loaded` explains them.
    """

    def __init__(self, run: Run | str | Path, *, runtime: Runtime = "torch", threads: int | None = None) -> None:
        self.folder = folder_of(run)
        facts = read_facts(self.folder)
        self.name: str = facts["model"]
        self.task: Task = facts["task"]
        self.classes = tuple(facts["classes"])
        self.image_px: int = facts["image_px"]
        self.boxed: bool = facts.get("boxed", False)
        self.outputs: Callable[[Pixels], Floats]
        if runtime == "torch":
            self.outputs = _by_torch(self.model)
        else:
            self.outputs = _by_onnx(self.folder, runtime, threads, facts)

    @cached_property
    def model(self) -> Classifier:
        """The PyTorch model, whatever runs the predictions; loaded when it is first asked for."""
        return load_model(self.folder).model

    def pixels(self, name: str, content: bytes) -> Pixels:
        """What the model sees, (3, image_px, image_px), of the file of an image. Raises `ImageError`."""
        return np.ascontiguousarray(square_of_file(name, content, self.image_px).transpose(2, 0, 1))

    def look(self, image: Image.Image, name: str = "") -> Prediction:
        """What the model says about one RGB image of any size."""
        pixels = np.ascontiguousarray(square(image, self.image_px).transpose(2, 0, 1))
        return self.said(self.outputs(pixels[None])[0], name)

    def said(self, outputs: Floats, name: str) -> Prediction:
        """The outputs of one image in words."""
        from scipy.special import expit, softmax

        if self.task == "regress":
            return Prediction(name, {}, target=float(outputs[0]))
        values = outputs.astype(np.float64)
        chances = expit(values) if self.task == "multilabel" else softmax(values)
        order = np.argsort(-chances, kind="stable").tolist()
        known = {self.classes[i]: float(chances[i]) for i in order}
        if self.task == "multilabel":
            present = tuple(label for label, chance in known.items() if chance >= THRESHOLD)
            return Prediction(name, known, labels=present)
        return Prediction(name, known, label=next(iter(known)))

    def look_at(self, files: Sequence[str], *, threads: int) -> Iterator[Prediction]:
        """One prediction a file, in their order; files are read and decoded by threads while the model runs."""
        read = store.in_order(self._read, files, threads, ahead=2 * _TOGETHER)
        while group := list(islice(read, _TOGETHER)):
            sound = [pixels for _, pixels, _ in group if pixels is not None]
            outputs = iter(self.outputs(np.stack(sound)) if sound else ())
            for file, pixels, error in group:
                yield self.said(next(outputs), file) if pixels is not None else Prediction(file, {}, error=error)

    def _read(self, file: str) -> tuple[str, Pixels | None, str | None]:
        try:
            return file, self.pixels(file, store.read_bytes(file)), None
        except (ImageError, NotFound, StorageError) as error:
            return file, None, str(error)


def folder_of(run: Run | str | Path) -> Path:
    """Where a run lies."""
    return Path((run.folder or "") if isinstance(run, Run) else run)


def _by_torch(model: Classifier) -> Callable[[Pixels], Floats]:
    import torch

    from scrimp.models.fusing import fused

    quick: Any = fused(model).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def outputs(pixels: Pixels) -> Floats:
        there: Floats = quick(torch.from_numpy(pixels)).float().numpy()
        return there

    return outputs


def _by_onnx(
    folder: Path, runtime: Runtime, threads: int | None, facts: Mapping[str, Any]
) -> Callable[[Pixels], Floats]:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("Running an ONNX file", "onnx") from None
    file = folder / ONNX_FILES[runtime]
    if not file.is_file():
        raise NotFound(f"No '{file}': write it first, with  scrimp export {folder} --format {runtime}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: one a core
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others decode on the same cores
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common root of their own
        raise WeightsError(f"'{file}' cannot be run: {error}") from None
    made_of = json.loads(session.get_modelmeta().custom_metadata_map.get("scrimp", "{}"))
    if made_of.get("weights_sha256") != facts.get("weights_sha256"):
        again = f"scrimp export {folder} --format {runtime}"
        raise WeightsError(f"'{file}' was made of other weights than lie beside it now. Write it anew, with  {again}")

    def outputs(pixels: Pixels) -> Floats:
        there: Floats = session.run(None, {"pixels": pixels})[0]
        return there

    return outputs


# ---------------------------------------------------------------- many files


def predict(
    run: Run | str | Path,
    images: Sequence[str],
    *,
    processes: int = 1,
    runtime: Runtime = "torch",
    tell: Callable[[str], object] = lambda told: None,
) -> list[Prediction]:
    """One prediction per image, in their order; a file that cannot be read is told in its own, not fatal.

    images: files and folders, here or at a URI; of a folder, whatever in it is named like an image, sorted. processes:
    each with a copy of the model and its share of the cores. tell: called with what a folder held besides.
    Raises what `Predictor` raises, `NotFound` for a folder that is gone, `WeightsError` where a process dies.
    Cost: one decode and a share of a forward pass per image; 32 images in memory a process.
    """
    if processes < 1:
        raise SettingError(f"processes={processes} must be 1 or more.")
    files = _files_of(images, tell)
    if read_facts(folder_of(run)).get("boxed"):
        tell(BOXED)
    elsewhere = any(store.is_uri(file) for file in files)
    each = max(1, cores() // processes)
    threads = store.THREADS if elsewhere else each
    with bar("predicting", len(files)) as advance:
        answers = []
        for answer in _answers(folder_of(run), files, processes, each, threads, runtime):
            answers.append(answer)
            advance(1, "")
    return answers


def _files_of(images: Sequence[str], tell: Callable[[str], object]) -> list[str]:
    files = []
    for item in images:
        if not store.is_folder(item):
            files.append(item)
            continue
        inside = store.list_files(item)
        named = [file.path for file in inside if is_image_name(file.key)]
        files += named
        if len(named) < len(inside):
            first = next(file.key for file in inside if not is_image_name(file.key))
            tell(
                f"{len(inside) - len(named):,} of {len(inside):,} files in '{item}' are not named like images: {first}."
            )
    return files


def _answers(
    folder: Path, files: Sequence[str], processes: int, each: int, threads: int, runtime: Runtime
) -> Iterable[Prediction]:
    if processes == 1:
        yield from Predictor(folder, runtime=runtime).look_at(files, threads=threads)
        return
    Predictor(folder, runtime=runtime)  # what it refuses is told here, not by a pool that broke
    shares = [files[start : start + _SHARE] for start in range(0, len(files), _SHARE)]
    context = get_context("spawn")  # a forked copy of PyTorch's threads hangs
    with ProcessPoolExecutor(processes, context, _begin, (folder, runtime, each, threads)) as pool:
        try:
            for answers in pool.map(_look_at_share, shares):
                yield from answers
        except BrokenProcessPool:
            raise WeightsError(
                f"One of {processes} processes that predict was ended from outside, for lack of memory perhaps: "
                "take fewer."
            ) from None


_of_process: tuple[Predictor, int] | None = None


def _begin(folder: Path, runtime: Runtime, each: int, threads: int) -> None:
    global _of_process
    import torch

    be_silent()
    torch.set_num_threads(each)
    _of_process = Predictor(folder, runtime=runtime, threads=each), threads


def _look_at_share(files: Sequence[str]) -> list[Prediction]:
    assert _of_process is not None
    predictor, threads = _of_process
    return list(predictor.look_at(files, threads=threads))


def to_csv(answers: Sequence[Prediction]) -> str:
    """One line an image: what was seen, how probable it is, why it was not read, and every class's probability.

    Labels are joined by ";", as a manifest has them. What is not of the model's task, or unknown, is left empty.
    """
    classes = sorted({name for answer in answers for name in answer.probabilities})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "label", "probability", "labels", "target", "error", *(f"p({name})" for name in classes)])
    for answer in answers:
        most = None if answer.label is None else f"{answer.probabilities[answer.label]:.6g}"
        labels = None if answer.labels is None else ";".join(answer.labels)
        chances = [f"{answer.probabilities[name]:.6g}" if answer.probabilities else None for name in classes]
        writer.writerow([answer.image, answer.label, most, labels, answer.target, answer.error, *chances])
    return text.getvalue()
