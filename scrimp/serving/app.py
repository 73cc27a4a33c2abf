"""A web page where an image can be dropped and what the model sees in it appears."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from scrimp.errors import ImageError, MissingExtra, StorageError
from scrimp.images.decode import open_rgb
from scrimp.meter import Run
from scrimp.serving.predict import Predictor


def answer_for(predictor: Predictor, path: str | None) -> Any:
    """What the page shows: probabilities by name, those of labels that count as present marked; or the number.

    path: the file that was dropped, opened as every image is. Raises `ImageError` where it cannot be.
    """
    if path is None:
        return None if predictor.task == "regress" else {}
    seen = predictor.look(open_rgb(path)[0])
    if seen.target is not None:
        return float(f"{seen.target:.6g}")
    present = seen.labels or ()
    return {f"✓ {name}" if name in present else name: chance for name, chance in seen.probabilities.items()}


def serve(
    run: Run | str | Path, *, host: str = "127.0.0.1", port: int = 7860, tell: Callable[[str], object] | None = None
) -> None:
    """Shows a trained model on http://host:port until Ctrl-C.

    tell: called with that address once the page is there; by default a line on stderr says so.

    Raises `MissingExtra` without the `app` extra, `NotFound` when the folder holds no model, `StorageError` when the
    port is taken. Cost: a few seconds to start, one forward pass per image.
    """
    predictor = Predictor(run)
    try:
        import gradio
    except ImportError:
        raise MissingExtra("The web page", "app") from None

    many = len(predictor.classes)
    answer: Any
    if predictor.task == "regress":
        answer, what = gradio.Number(label="Target"), "a number"
    else:
        shown = many if predictor.task == "multilabel" else min(5, many)
        answer, what = gradio.Label(num_top_classes=shown, label="What it sees"), f"{many} classes"

    def shown_for(path: str | None) -> Any:
        try:
            return answer_for(predictor, path)
        except ImageError as error:
            raise gradio.Error(str(error), print_exception=False) from None

    page = gradio.Interface(
        shown_for,
        gradio.Image(type="filepath", image_mode=None, label="Image"),
        answer,
        title=f"{predictor.model.name}: {what}",
        flagging_mode="never",
        analytics_enabled=False,
        api_name="predict",
    )
    try:
        page.launch(server_name=host, server_port=port, quiet=True, prevent_thread_lock=True)
    except OSError as error:
        raise StorageError(f"Cannot serve on {host}:{port}: {error}. Choose another --port.") from None
    url = f"http://{host}:{port}"
    if tell:
        tell(url)
    else:
        print(f"Serving {predictor.model.name} on {url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    try:
        with redirect_stdout(sys.stderr):  # Gradio has something to say when it ends
            page.block_thread()
    except KeyboardInterrupt:
        page.close()
