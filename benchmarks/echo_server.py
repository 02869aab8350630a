"""An HTTP server that answers every request with its own body: what an endpoint costs that does nothing.

`python -m benchmarks.echo_server PORT`. uvicorn as `training/serve.py` runs it, and a raw ASGI application as there.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

import uvicorn

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
    uvicorn.run(
        cast("Any", echo),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        ws="none",
        interface="asgi3",
        access_log=False,
        timeout_keep_alive=75,
        log_config=None,
        server_header=False,
        date_header=False,
    )
