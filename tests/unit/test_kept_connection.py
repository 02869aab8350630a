"""The connection that is kept: requests in one piece, a new connection after any failure, nothing read twice."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from functions.adapters.kept_connection import KeptConnection
from tests.valkey.tls import new_authority

pytestmark = pytest.mark.enable_socket

OK = b"HTTP/1.1 200 OK\r\nX-Said: yes\r\nContent-Length: 2\r\n\r\nhi"
Answering = Callable[[int], bytes | None]
"""The answer to the n-th request; None: silence."""


class Server:
    """Answers whatever is sent, one answer a piece; counts connections and keeps the pieces."""

    def __init__(self, listening: socket.socket, answering: Answering, *, closes: bool, context: Any) -> None:
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
        self.pieces: list[bytes] = []
        self.connections = 0
        self.closed = threading.Event()
        self._listening, self._answering, self._closes, self._context = listening, answering, closes, context

    def run(self) -> None:
        with suppress(OSError):  # the listening socket closes at the test's end
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                with connection, suppress(ssl.SSLError):
                    self._answer(self._context.wrap_socket(connection, True) if self._context else connection)
                self.closed.set()

    def _answer(self, connection: socket.socket) -> None:
        while piece := connection.recv(65_536):
            self.pieces.append(piece)
            answer = self._answering(len(self.pieces))
            if answer is not None:
                connection.sendall(answer)
            if self._closes:
                return


@contextmanager
def serving(answering: Answering, *, closes: bool = False, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(listening, answering, closes=closes, context=context)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()
            thread.join()


@contextmanager
def kept(url: str, *, read_timeout_ms: int = 2_000) -> Iterator[KeptConnection]:
    connection = KeptConnection(url, connect_timeout_ms=2_000, read_timeout_ms=read_timeout_ms)
    try:
        yield connection
    finally:
        connection.close()


def test_keeps_one_connection_and_sends_each_request_in_one_piece() -> None:
    with serving(lambda _: OK) as server, kept(server.url) as connection:
        answers = [connection.post("/a", {"host": "x", "accept": "b"}, b"\x00body") for _ in range(3)]

    assert [(answer.status, answer.headers["x-said"], answer.content) for answer in answers] == [
        (200, "yes", b"hi")
    ] * 3
    assert server.connections == 1
    assert server.pieces == [b"POST /a HTTP/1.1\r\nhost: x\r\naccept: b\r\nContent-Length: 5\r\n\r\n\x00body"] * 3


def test_opens_another_connection_where_the_server_closed_it_meanwhile() -> None:
    with serving(lambda _: OK, closes=True) as server, kept(server.url) as connection:
        connection.post("/", {"host": "x"}, b"")
        assert server.closed.wait(5)
        assert connection.post("/", {"host": "x"}, b"").content == b"hi"

    assert server.connections == 2


def test_opens_another_connection_after_an_answer_that_says_close() -> None:
    closing = OK.replace(b"X-Said: yes", b"Connection: close")
    with serving(lambda count: closing if count == 1 else OK) as server, kept(server.url) as connection:
        connection.post("/", {"host": "x"}, b"")
        connection.post("/", {"host": "x"}, b"")

    assert server.connections == 2


def test_silence_is_a_timeout_and_its_late_answer_meets_nobody() -> None:
    with (
        serving(lambda count: None if count == 1 else OK) as server,
        kept(server.url, read_timeout_ms=50) as connection,
    ):
        with pytest.raises(TimeoutError):
            connection.post("/", {"host": "x"}, b"first")
        assert connection.post("/", {"host": "x"}, b"second").content == b"hi"

    assert server.connections == 2


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"])
def test_what_is_no_whole_answer_is_an_error(answer: bytes) -> None:
    with (
        serving(lambda _: answer, closes=True) as server,
        kept(server.url) as connection,
        pytest.raises(HTTPException),
    ):
        connection.post("/", {"host": "x"}, b"")


def test_server_whose_certificate_nobody_trusts_is_refused(tmp_path: Path) -> None:
    certificate = new_authority(tmp_path, "unknown").issue("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with serving(lambda _: OK, context=context) as server, kept(server.url) as connection:
        with pytest.raises(ssl.SSLCertVerificationError):
            connection.post("/", {"host": "x"}, b"")
        assert not server.pieces


def test_nobody_there_is_an_error_of_the_system() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with kept(f"http://127.0.0.1:{port}") as connection, pytest.raises(ConnectionRefusedError):
        connection.post("/", {"host": "x"}, b"")


@pytest.mark.parametrize("value", ["a\r\nx-more: b", "a\nb", "a\x00"])
def test_header_cannot_smuggle_another(value: str) -> None:
    with (
        serving(lambda _: OK) as server,
        kept(server.url) as connection,
        pytest.raises(HTTPException, match="control characters"),
    ):
        connection.post("/", {"host": "x", "accept": value}, b"")

    assert not server.pieces
