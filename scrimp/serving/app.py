"""A web page where an image can be dropped and what the model sees in it appears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from scrimp.errors import MissingExtra, StorageError
from scrimp.meter import Run
from scrimp.serving.predict import Predictor


def answer_for(predictor: Predictor, image: Image.Image | None) -> Any:
    """What the page shows: probabilities by name, those of labels that count as present marked; or the number."""
    if image is None:
        return None if predictor.task == "regress" else {}
    seen = predictor.look(image.convert("RGB"))
    if seen.target is not None:
        return float(f"{seen.target:.6g}")
    present = seen.labels or ()
    return {f"✓ {name}" if name in present else name: chance for name, chance in seen.probabilities.items()}


def serve(run: Run | str | Path, *, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Shows a trained model on http://host:port until Ctrl-C.

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
    page = gradio.Interface(
        lambda image: answer_for(predictor, image),
        gradio.Image(type="pil", label="Image"),
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
    print(f"Serving {predictor.model.name} on http://{host}:{port} (Ctrl-C ends it)", flush=True)
    try:
        page.block_thread()
    except KeyboardInterrupt:
        page.close()
