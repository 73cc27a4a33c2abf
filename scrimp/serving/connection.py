"""Connections that do not wait for ever: clients that dawdle over a request are hung up on."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 10.0
"""Within which the head of a request must be there, from when the connection was made or its first byte came."""

_Protocol: Any = AutoHTTPProtocol


class Impatient(_Protocol):  # type: ignore[misc]
    """uvicorn's own protocol, which has no limit for the head of a request, with one.

    It also ends an upload that goes on although it was answered, such as a file that was refused for its size.
    """

    _hurry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """As uvicorn calls it."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """As uvicorn calls it."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn calls it."""
        self._calm()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self._is_answering():
            self._calm()
        elif self._hurry is None:
            self._hurry = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _calm(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None

    def _hang_up(self) -> None:
        self._hurry = None
        if not self._is_answering():
            self.transport.close()
