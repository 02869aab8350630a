"""One HTTP connection that is kept: a request leaves in one piece, with nothing between it and the socket."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path
from urllib3.util.wait import wait_for_read

from slidr.contract import has_control_characters

_KEEP: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    headers: Message
    """Names in any case."""
    content: bytes


class KeptConnection:
    """Posts to one server. Opens no connection before the first request, and a new one after any failure."""

    def __init__(self, url: str, *, connect_timeout_ms: int, read_timeout_ms: int) -> None:
        self._address = urlsplit(url)
        self._connect_timeout_s = connect_timeout_ms / 1000
        self._read_timeout_s = read_timeout_ms / 1000
        self._connection: HTTPConnection | None = None

    def post(self, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to one request, sent once.

        Args:
            target: path and query.
            headers: Host among them; without Connection and Content-Length.
            body: all of it.

        Raises:
            OSError: no connection, lost, or silent for too long (TimeoutError).
            HTTPException: what came is no answer, or a header has control characters.
        """
        lines = [f"{name}: {value}" for name, value in headers.items()]
        if any(map(has_control_characters, (target, *lines))):
            raise HTTPException("a target and headers without control characters are required")
        head = "\r\n".join((f"POST {target} HTTP/1.1", *lines))
        request = f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
        connection = self._open()
        try:
            # The library sends head and body apart: twice the system's work, a second packet, and a server that wakes
            # up for the first.
            connection.sock.sendall(request)
            with HTTPResponse(connection.sock, method="POST") as response:
                response.begin()
                answer = Answer(response.status, response.headers, response.read())
                if response.will_close:
                    self.close()
        except BaseException:
            self.close()  # an answer that nobody read must never meet the next request
            raise
        return answer

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> HTTPConnection:
        """The kept connection, or another where the server has closed it in the meantime."""
        if self._connection is not None and wait_for_read(self._connection.sock, timeout=0.0):
            self.close()
        if self._connection is None:
            host, port = self._address.hostname or "", self._address.port
            connection = (
                HTTPSConnection(host, port, timeout=self._connect_timeout_s, context=_trusting_the_sdks_authorities())
                if self._address.scheme == "https"
                else HTTPConnection(host, port, timeout=self._connect_timeout_s)
            )
            connection.connect()
            for option in _KEEP:
                connection.sock.setsockopt(*option)
            connection.sock.settimeout(self._read_timeout_s)
            self._connection = connection
        return self._connection


def _trusting_the_sdks_authorities() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=get_cert_path(True))
