"""A web page where an image can be dropped and the class probabilities appear."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from scrimp.errors import MissingExtra, StorageError
from scrimp.meter import Run
from scrimp.serving.predict import Predictor


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

    def look(image: Image.Image | None) -> dict[str, float]:
        return predictor.probabilities(image.convert("RGB")) if image else {}

    page = gradio.Interface(
        look,
        gradio.Image(type="pil", label="Image"),
        gradio.Label(num_top_classes=min(5, len(predictor.classes)), label="What it sees"),
        title=f"{predictor.model.name}: {len(predictor.classes)} classes",
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
