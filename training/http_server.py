"""How the endpoint speaks HTTP: one uvicorn process, its fastest loop and parser, nothing around the application."""

from __future__ import annotations

from typing import Any

import uvicorn


def http_server(application: Any, *, host: str, port: int) -> uvicorn.Config:
    """The server of a raw ASGI application."""
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        ws="none",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,  # above the idle time of SageMaker's own connections
        timeout_graceful_shutdown=5,
    )
