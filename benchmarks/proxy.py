"""A TCP proxy in front of a server: it counts requests, holds them back, and can cut an answer short.

What the client sends is held back by `delay_s`, and a new connection as long again, as its handshake would be; so a
request takes that much longer, however many are under way. Answers come through at once.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.[01]\r\n")
_CHUNK = 65_536


class Proxy:
    """Runs in a thread of its own for the length of a `with` block; `url` is its address.

    target: the URL of the server. requests: "GET /bucket/key" of every request so far. cut: given a request, after
    how many bytes of its answer, headers included, the connection is closed; None for never.
    """

    def __init__(
        self, target: str, *, delay_s: float = 0.0, cut: Callable[[str], int | None] = lambda request: None
    ) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self.delay_s, self.cut = delay_s, cut
        self.requests: list[str] = []
        self._seen = threading.Condition()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._ready = threading.Event()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def wait_for(self, count: int, method: str, seconds: float = 60) -> None:
        """Returns as soon as so many requests of a method have been made."""
        with self._seen:
            done = self._seen.wait_for(lambda: sum(r.startswith(method) for r in self.requests) >= count, seconds)
        if not done:
            raise TimeoutError(f"{len(self.requests)} requests in {seconds} s")

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self._ready.set()
            await self._stop.wait()
            for writer in self._writers:
                writer.transport.abort()
            connections = asyncio.all_tasks() - {asyncio.current_task()}
            for connection in connections:
                connection.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            await asyncio.sleep(0.01)  # in which closed sockets are let go

    async def _serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        writers, tasks = [answer], []
        self._writers.add(answer)
        try:
            await asyncio.sleep(self.delay_s)
            server, ask = await asyncio.open_connection(*self._target)
            writers.append(ask)
            self._writers.add(ask)
            limit: list[int | None] = [None]  # bytes of the answer under way that still come through
            held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
            steps = [self._take(client, held, limit), self._send_on(held, ask), self._send_back(server, answer, limit)]
            tasks = [asyncio.create_task(step) for step in steps]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # nobody answers behind it, and so neither does it
        finally:
            for task in tasks:
                task.cancel()
                task.add_done_callback(lambda task: task.cancelled() or task.exception())  # a lost connection
            for writer in writers:
                writer.close()
                self._writers.discard(writer)

    async def _take(
        self, client: asyncio.StreamReader, held: asyncio.Queue[tuple[float, bytes]], limit: list[int | None]
    ) -> None:
        while data := await client.read(_CHUNK):
            if begins := _REQUEST.match(data):
                request = f"{begins[1].decode()} {begins[2].decode()}"
                limit[0] = self.cut(request)
                with self._seen:
                    self.requests.append(request)
                    self._seen.notify_all()
            held.put_nowait((self._loop.time() + self.delay_s, data))

    async def _send_on(self, held: asyncio.Queue[tuple[float, bytes]], ask: asyncio.StreamWriter) -> None:
        while True:
            due, data = await held.get()
            await asyncio.sleep(due - self._loop.time())
            ask.write(data)
            await ask.drain()

    async def _send_back(
        self, server: asyncio.StreamReader, answer: asyncio.StreamWriter, limit: list[int | None]
    ) -> None:
        while data := await server.read(_CHUNK):
            if limit[0] is not None:
                data, limit[0] = data[: limit[0]], limit[0] - len(data)
            answer.write(data)
            await answer.drain()
            if limit[0] is not None and limit[0] <= 0:
                return
