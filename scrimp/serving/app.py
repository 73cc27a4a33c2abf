"""A trained model on the web: a page for people and a JSON API for programs, in one process or in several."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrimp.cores import cores
from scrimp.errors import MissingExtra, SettingError, StorageError
from scrimp.meter import Run
from scrimp.serving.predicting import Predictor, Runtime, folder_of

if TYPE_CHECKING:
    from fastapi import FastAPI

    from scrimp.serving.service import Limits

_SETTINGS = "SCRIMP_SERVE"  # the environment variable that tells a worker process what to serve
_COUNTED_IN = "PROMETHEUS_MULTIPROC_DIR"  # the one that tells Prometheus's library where they count together
_BACKLOG = 2048
_STOP_SECONDS = 30  # what is under way has this long to end


def serve(
    run: Run | str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    runtime: Runtime = "torch",
    workers: int = 1,
    limits: Mapping[str, Any] | None = None,
    tell: Callable[[str], object] | None = None,
) -> None:
    """Serves a model on http://host:port, page and JSON API, until Ctrl-C or SIGTERM; then finishes what it began.

    port: 0 takes a free one. runtime: PyTorch, or ONNX Runtime on a file that `export` wrote. workers: processes, each
    with a copy of the model and its share of the cores. limits: those of `Limits` that are to be others, by name.
    tell: called with the address; by default a line on stderr says it.

    Raises `MissingExtra` without the `app` extra, `NotFound` when the folder holds no model, `StorageError` when the
    port is taken. Cost: a few seconds to start; an image costs its decoding and a share of a forward pass.
    """
    folder = folder_of(run)
    predictor = Predictor(folder, runtime=runtime, threads=_threads(workers))
    try:
        import fastapi  # noqa: F401
        import gradio  # noqa: F401
        import uvicorn
        from uvicorn.supervisors import Multiprocess

        from scrimp.serving.service import Limits
    except ImportError:
        raise MissingExtra("Serving", "app") from None
    if workers < 1:
        raise SettingError(f"workers={workers} must be 1 or more.")
    allowed = Limits(**limits or {})
    listening = _listen(host, port)
    url = f"http://{host}:{listening.getsockname()[1]}"
    say = tell or (
        lambda url: print(f"Serving {predictor.name} on {url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    )
    options: dict[str, Any] = {
        "http": "scrimp.serving.connection:Impatient",
        "ws": "none",
        "access_log": False,
        "log_level": "warning",
        "timeout_graceful_shutdown": _STOP_SECONDS,
        "timeout_worker_healthcheck": _STOP_SECONDS,  # a process that is starting on a busy machine is not dead
    }
    said_on = sys.stdout
    with listening, tempfile.TemporaryDirectory(prefix="scrimp-serve-") as scratch, redirect_stdout(sys.stderr):
        if workers > 1:
            settings = {"folder": str(folder), "runtime": runtime, "limits": allowed.model_dump(), "workers": workers}
            os.environ |= {_SETTINGS: json.dumps(settings | {"scratch": scratch}), _COUNTED_IN: scratch}
            config = uvicorn.Config("scrimp.serving.app:app_of_worker", factory=True, workers=workers, **options)
        else:
            config = uvicorn.Config(build_app(predictor, allowed, Path(scratch)), **options)
        with suppress(KeyboardInterrupt), _sigterm_as_ctrl_c():  # when it comes here, all is answered
            with redirect_stdout(said_on):
                say(url)
            if workers > 1:
                Multiprocess(config, [listening]).run()
            else:
                uvicorn.Server(config).run([listening])
    for name in (_SETTINGS, _COUNTED_IN):
        os.environ.pop(name, None)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """uvicorn ends well at both, and then raises the signal again: SIGTERM would leave our files behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _threads(workers: int) -> int:
    return max(1, cores() // max(1, workers))


def _listen(host: str, port: int) -> socket.socket:
    """A socket that connections can queue at from now on."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise StorageError(f"Cannot serve on {host}:{port}: {error}. Choose another --port.") from None


def app_of_worker() -> FastAPI:
    """The app of one of several processes, told by the environment what to serve."""
    import torch

    from scrimp.serving.service import Limits

    settings = json.loads(os.environ[_SETTINGS])
    threads = _threads(settings["workers"])
    torch.set_num_threads(threads)
    predictor = Predictor(settings["folder"], runtime=settings["runtime"], threads=threads)
    scratch = Path(settings["scratch"]) / f"{os.getpid()}"
    scratch.mkdir()
    return build_app(predictor, Limits(**settings["limits"]), scratch)


def build_app(predictor: Predictor, limits: Limits, scratch: Path) -> FastAPI:
    """API and page in one. scratch: a folder for files that last as long as the app."""
    import gradio

    from scrimp.serving.api import build_api
    from scrimp.serving.page import build_page
    from scrimp.serving.service import Service

    service = Service(predictor, limits)
    api = build_api(service)
    page = build_page(service, scratch)
    gradio.mount_gradio_app(
        api,
        page,
        path="/",
        max_file_size=int(limits.upload_mb * 1e6),
        show_error=True,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
    )
    page.has_launched = True  # else Gradio gives out any file of this machine that a request names
    mounted: Any = api.routes[-1]
    _end_pages_early(api, mounted.app)
    mounted.app = _within_limits(mounted.app, limits)
    return api


def _within_limits(page: Any, limits: Limits) -> Any:
    """The page, but whoever sends it more bytes than `upload_mb`, or takes longer than `upload_seconds`, is cut off."""
    import asyncio

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        left, arriving = limits.upload_mb * 1e6, scope["type"] == "http"
        until = asyncio.get_running_loop().time() + limits.upload_seconds

        async def take() -> Any:
            nonlocal left, arriving
            if not arriving:  # what comes now is that the client hung up, for which open streams wait long
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                return {"type": "http.disconnect"}
            left -= len(message.get("body", b""))
            arriving = message.get("more_body", False)
            return message if left >= 0 else {"type": "http.disconnect"}

        await page(scope, take, send)

    return limited


def _end_pages_early(api: FastAPI, page: Any) -> None:
    """At a signal to stop, ends the streams that open pages hold for ever, for which stopping would wait."""
    import asyncio

    before = api.router.lifespan_context

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        heeded: dict[int, Any] = {}

        def heed(number: int, frame: Any) -> None:
            loop.call_soon_threadsafe(page.stop_event.set)
            heeded[number](number, frame)

        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)  # uvicorn's, by now
            if callable(handler):
                heeded[number] = handler
                with suppress(ValueError):  # outside the main thread there are no signals
                    signal.signal(number, heed)
        async with before(app) as state:
            yield state

    api.router.lifespan_context = life
