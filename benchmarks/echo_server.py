"""An HTTP server that answers every request with its own body: what an endpoint costs that does nothing.

`python -m benchmarks.echo_server PORT`. The endpoint's own server, and a raw ASGI application as there.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from training.http_server import http_server

Message = MutableMapping[str, Any]


async def echo(_scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]) -> None:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.Server(http_server(echo, host="127.0.0.1", port=int(sys.argv[1]))).run()
