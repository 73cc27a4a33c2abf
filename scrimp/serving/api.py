"""The JSON API: images in, predictions out; every refusal is JSON with a status, a code and a sentence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from scrimp.serving.predicting import Prediction
from scrimp.serving.service import Refused, Service


class Problem(BaseModel):
    """Why something was not done: a word for programs, a sentence for people."""

    code: str
    message: str


class ProblemAnswer(BaseModel):
    """What every refusal looks like."""

    error: Problem


class ImageAnswer(BaseModel):
    """What the model sees in one image, or why it saw nothing; what is not of the model's task is null."""

    image: str
    label: str | None
    labels: list[str] | None
    target: float | None
    probabilities: dict[str, float]
    error: Problem | None


class Answer(BaseModel):
    """One prediction an image, in the order in which they were sent."""

    model: str
    seconds: float
    predictions: list[ImageAnswer]


class Health(BaseModel):
    """The server is there, with this model."""

    status: str
    model: str
    task: str
    classes: int
    image_px: int


_REFUSALS = {
    400: "The form cannot be read, or the client hung up.",
    408: "The request did not arrive in time.",
    413: "Too many bytes, files or pixels.",
    415: "Not an image of a kind that is read here.",
    422: "An image that is empty or broken, or a parameter out of range.",
    500: "A fault of the server, which tells more in its log.",
    503: "Too many images are waiting: ask again.",
}
_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 422: "bad_parameter"}
_BINARY = {"type": "string", "format": "binary"}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"files": {"type": "array", "items": _BINARY, "minItems": 1}},
                "required": ["files"],
            }
        },
        "image/*": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
    },
}
_METHODS = {"/predict": "POST", "/healthz": "GET", "/metrics": "GET"}


def build_api(service: Service) -> FastAPI:
    """The API around a service, which it closes when it is stopped.

    `POST /predict` takes one image as its body, or one or many as the files of a form. The status is 200 where at least
    one of them was seen, and each that was not says why; otherwise it is that of the first one's error.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    predictor = service.predictor
    api = FastAPI(title=f"Scrimp: {predictor.name}", description=build_api.__doc__ or "", lifespan=life)
    _answer_in_json(api)

    @api.post(
        "/predict",
        response_model=Answer,
        responses={status: {"model": ProblemAnswer, "description": why} for status, why in _REFUSALS.items()},
        openapi_extra={"requestBody": _BODY},
    )
    async def predict(
        request: Request,
        top: Annotated[int | None, Query(ge=1, description="Only so many probabilities, the highest.")] = None,
    ) -> Response:
        """What the model sees in one image or in several."""
        began = time.perf_counter()
        status, code = 500, "internal"
        try:
            answers = await _predictions(service, request, top)
            status, code = 200, "ok"
        except Refused as refused:
            status, code = refused.status, refused.code
            raise
        finally:
            seconds = time.perf_counter() - began
            service.counters.requests.labels(status, code).inc()
            service.counters.seconds.observe(seconds)
        return JSONResponse({"model": predictor.name, "seconds": round(seconds, 6), "predictions": answers})

    @api.get("/healthz")
    async def healthz() -> Health:
        """Whether the server is there, and with which model."""
        return Health(
            status="ok",
            model=predictor.name,
            task=predictor.task,
            classes=len(predictor.classes),
            image_px=predictor.image_px,
        )

    @api.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counters in the format of Prometheus."""
        return Response(service.counters.text(), media_type=CONTENT_TYPE_LATEST)

    for path, method in _METHODS.items():  # else the page, which has all other paths, would answer
        others = [
            name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE") if name != method
        ]
        api.add_api_route(path, _no_such_method(method), methods=others, include_in_schema=False)
    return api


def _no_such_method(method: str) -> Any:
    async def refuse() -> Response:
        raise HTTPException(405, f"Use {method}.", {"Allow": method})

    return refuse


def _answer_in_json(api: FastAPI) -> None:
    """Whatever goes wrong: JSON of one shape, and never a traceback."""

    @api.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        headers = {"Retry-After": "1"} if error.status == 503 else {}
        if error.status == 408:
            headers["Connection"] = "close"  # the rest of the body is not waited for
        return _problem(error.status, error.code, error.message, headers)

    @api.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, "refused")
        return _problem(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @api.exception_handler(RequestValidationError)
    async def out_of_range(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _problem(422, "bad_parameter", f"{where}: {first['msg']}.")

    @api.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return _problem(500, "internal", "The server has failed at this; its log says where.")


def _problem(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


# ---------------------------------------------------------------- from a request to predictions


async def _predictions(service: Service, request: Request, top: int | None) -> list[dict[str, Any]]:
    with service.room(1):  # from before the first byte of it is read
        files = await _files_in(service, request)
        with service.room(len(files) - 1):
            seen = await asyncio.gather(*(_look(service, name, content) for name, content in files))
    if all(isinstance(one, Refused) for one in seen):
        raise seen[0]  # type: ignore[misc]
    return [_as_json(name, one, top) for (name, _), one in zip(files, seen, strict=True)]


async def _look(service: Service, name: str, content: bytes) -> Prediction | Refused:
    try:
        pixels = await asyncio.wrap_future(service.decode(name, content))
    except Refused as refused:
        return refused
    outputs = await asyncio.wrap_future(service.outputs(pixels))
    service.counters.images.inc()
    return service.predictor.said(outputs, name)


def _as_json(name: str, seen: Prediction | Refused, top: int | None) -> dict[str, Any]:
    error = None
    if isinstance(seen, Refused):
        error = {"code": seen.code, "message": seen.message}
        seen = Prediction(name, {})
    return {
        "image": seen.image,
        "label": seen.label,
        "labels": seen.labels,
        "target": seen.target,
        "probabilities": dict(list(seen.probabilities.items())[:top]),
        "error": error,
    }


async def _files_in(service: Service, request: Request) -> list[tuple[str, bytes]]:
    """Names and contents of what was sent: the files of a form, or the body itself."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _body(service, request)
    if kind != "multipart/form-data":
        return [("image", body)]  # whatever it is said to be: its own first bytes tell
    files = await _parts(request.headers, body)
    if not files:
        raise Refused(422, "empty", "The form holds no file.")
    most = service.limits.files
    if len(files) > most:
        raise Refused(413, "too_many_files", f"The form holds {len(files):,} files; the limit is {most:,}.")
    return files


async def _body(service: Service, request: Request) -> bytes:
    limits = service.limits
    most = int(limits.upload_mb * 1e6)
    too_large = Refused(413, "too_many_bytes", f"The request is larger than the limit of {limits.upload_mb:g} MB.")
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise too_large
    except TimeoutError:
        raise Refused(
            408, "too_slow", f"The request has not arrived within {limits.upload_seconds:g} seconds."
        ) from None
    except ClientDisconnect:
        raise Refused(400, "gone", "The client hung up.") from None
    return bytes(body)


async def _parts(headers: Headers, body: bytes) -> list[tuple[str, bytes]]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(headers, whole())
    try:
        form = await parser.parse()
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        return [(_printable(file.filename or "image"), await file.read()) for file in files]
    except MultiPartException as error:
        raise Refused(400, "bad_form", f"The form cannot be read: {error.message}") from None
    except Exception as error:  # what a damaged form makes of its parser has no bounds
        raise Refused(400, "bad_form", f"The form cannot be read: {error}") from None
    finally:
        for file in getattr(parser, "_files_to_close_on_error", ()):  # of a form cut short, nobody else would
            file.close()


def _printable(name: str) -> str:
    """A name that any JSON can hold: a form may be in any encoding, with half a character in it."""
    return name[:200].encode(errors="replace").decode()
