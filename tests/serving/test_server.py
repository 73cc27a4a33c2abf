"""The server as a process: it starts, answers, waits for nobody for ever, and ends when it has finished."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from serve_tools import Held, Served, start_server

from scrimp.errors import StorageError
from scrimp.serving import connection, serve
from scrimp.serving.api import build_api
from scrimp.serving.predicting import Predictor
from scrimp.serving.service import Limits, Service

pytestmark = pytest.mark.server


def head(length: int, path: str = "/predict") -> bytes:
    kind = "Content-Type: image/jpeg\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {length}\r\nConnection: close\r\n\r\n".encode()


def answer_on(connected: socket.socket) -> tuple[int, Any]:
    """Status and JSON of an answer; (0, None) where the server hung up instead."""
    with closing(http.client.HTTPResponse(connected)) as answer:
        try:
            answer.begin()
        except (http.client.HTTPException, ConnectionError):
            return 0, None
        return answer.status, json.load(answer)


def ask(port: int, method: str, path: str, body: bytes | None = None, kind: str = "image/jpeg") -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as asked:
        asked.request(method, path, body, {"Content-Type": kind} if body else {})
        answer = asked.getresponse()
        return answer.status, answer.read().decode()


def post(port: int, body: bytes, kind: str = "image/jpeg") -> tuple[int, Any]:
    status, told = ask(port, "POST", "/predict", body, kind)
    return status, json.loads(told)


def get(port: int, path: str) -> tuple[int, str]:
    return ask(port, "GET", path)


# ---------------------------------------------------------------- in this process, so that its limits can be short


class Here:
    """The API behind uvicorn and our connections, in a thread."""

    def __init__(self, service: Service) -> None:
        config = uvicorn.Config(
            build_api(service), http="scrimp.serving.connection:Impatient", ws="none", log_level="critical"
        )
        self.server = uvicorn.Server(config)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, args=([self.listening],))
        self.thread.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def stop(self) -> None:
        self.server.should_exit = True


@pytest.fixture
def here(predictor: Predictor) -> Iterator[Here]:
    server = Here(Service(predictor, Limits(upload_seconds=0.2, queue=4)))
    yield server
    server.stop()
    server.thread.join(30)
    server.listening.close()
    assert not server.thread.is_alive()


def test_a_slow_upload_is_given_up(here: Here, photo: bytes) -> None:
    with here.connect() as slow:
        slow.sendall(head(len(photo)) + photo[:100])
        status, told = answer_on(slow)
    assert (status, told["error"]["code"]) == (408, "too_slow")
    assert post(here.port, photo)[0] == 200


def test_slow_clients_hold_their_places_only_until_then(here: Here, photo: bytes) -> None:
    slow = [here.connect() for _ in range(4)]
    for one in slow:
        one.sendall(head(len(photo)) + photo[:100])
    answers = [answer_on(one) for one in slow]
    for one in slow:
        one.close()
    assert {status for status, _ in answers} == {408}
    assert post(here.port, photo)[0] == 200


def test_a_head_that_never_ends_is_hung_up_on(here: Here, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
    with here.connect() as silent, here.connect() as slow:
        slow.sendall(head(len(photo))[:30])
        assert silent.recv(1) == b""
        assert slow.recv(1) == b""
    with here.connect() as endless:  # refused for its size, yet it goes on sending
        endless.sendall(head(10**12))
        status, told = answer_on(endless)
        assert (status, told["error"]["code"]) == (413, "too_many_bytes")
        with pytest.raises(ConnectionError):
            endless.sendall(bytes(2 * 10**8))
    assert post(here.port, photo)[0] == 200


def test_whoever_hangs_up_leaves_no_trace(here: Here, photo: bytes) -> None:
    for part in (1, 40, len(head(9)), len(head(9)) + 20):
        with here.connect() as gone:
            gone.sendall((head(len(photo)) + photo)[:part])
    for _ in range(5):
        assert post(here.port, photo)[0] == 200


def test_what_is_no_http_is_refused(here: Here, photo: bytes) -> None:
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"hello\r\n\r\n",
        b"POST /predict\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
    ):
        with here.connect() as odd:
            odd.sendall(sent)
            answer = odd.recv(12)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), sent
    assert post(here.port, photo)[0] == 200


def test_stopping_answers_what_was_taken(predictor: Predictor, photo: bytes) -> None:
    """The model is held still while the server is told to stop: whoever was in gets an answer, nobody else gets in."""
    held = predictor.outputs = Held(predictor.outputs)
    server = Here(Service(predictor, Limits()))
    answers: list[int] = []
    asking = [threading.Thread(target=lambda: answers.append(post(server.port, photo)[0])) for _ in range(5)]
    for one in asking:
        one.start()
    assert held.began.wait(30)
    while server.server.server_state.total_requests + len(server.server.server_state.tasks) < 5:
        pass
    server.stop()
    while server.listening.fileno() != -1:  # it has stopped listening
        pass
    with pytest.raises(ConnectionError):
        server.connect()
    held.may.set()
    for one in asking:
        one.join(30)
    server.thread.join(30)
    assert answers == [200] * 5


def test_a_port_that_is_taken(run_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StorageError, match="Choose another --port"):
        serve(run_folder, port=taken.getsockname()[1])


# ---------------------------------------------------------------- as a process of its own


def test_page_and_api_are_one_server(served: Served, photo: bytes) -> None:
    status, page = get(served.port, "/")
    assert status == 200
    assert "gradio" in page
    assert get(served.port, "/config")[0] == 200
    assert json.loads(get(served.port, "/healthz")[1])["model"] == "ultralight"
    assert "/predict" in json.loads(get(served.port, "/openapi.json")[1])["paths"]
    assert get(served.port, "/docs")[0] == 200
    status, told = post(served.port, photo)
    assert (status, told["predictions"][0]["label"]) == (200, "red")
    assert get(served.port, "/predict")[0] == 405
    assert "scrimp_images_total" in get(served.port, "/metrics")[1]


def test_several_processes_serve_count_together_and_finish(run_folder: Path, tmp_path: Path, photo: bytes) -> None:
    server = start_server(run_folder, tmp_path / "log", "--workers", "2", "--queue", "9")
    try:
        assert all(post(server.port, photo)[0] == 200 for _ in range(8))
        assert "scrimp_images_total 8.0" in get(server.port, "/metrics")[1]
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as late:
            late.sendall(head(len(photo)) + photo[:100])
            assert get(server.port, "/healthz")[0] == 200
            os.kill(server.process.pid, signal.SIGINT)
            late.sendall(photo[100:])
            assert answer_on(late)[0] == 200
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.log.read_text()
    finally:
        server.process.kill()
        server.process.communicate()


def test_sigterm_lets_an_upload_end(run_folder: Path, tmp_path: Path, photo: bytes) -> None:
    server = start_server(run_folder, tmp_path / "log")
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as late:
            late.sendall(head(len(photo)) + photo[:100])
            assert get(server.port, "/healthz")[0] == 200
            server.process.terminate()
            late.sendall(photo[100:])
            status, told = answer_on(late)
        assert (status, told["predictions"][0]["label"]) == (200, "red")
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.log.read_text()
    finally:
        server.process.kill()
        server.process.communicate()


def test_form_of_many_over_a_real_connection(served: Served, photo: bytes) -> None:
    parts = io.BytesIO()
    for number in range(20):
        parts.write(f'--x\r\nContent-Disposition: form-data; name="files"; filename="{number}.jpg"\r\n\r\n'.encode())
        parts.write(photo + b"\r\n")
    parts.write(b"--x--\r\n")
    status, told = post(served.port, parts.getvalue(), "multipart/form-data; boundary=x")
    assert status == 200
    assert [seen["image"] for seen in told["predictions"]] == [f"{number}.jpg" for number in range(20)]
    assert {seen["label"] for seen in told["predictions"]} == {"red"}
