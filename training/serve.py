"""The endpoint: SageMaker's contract (GET /ping, POST /invocations) as a raw ASGI application, one uvicorn process."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import pwd
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, cast

import numpy as np
import uvicorn

from slidr.errors import SlidrError
from slidr.features import FEATURE_COUNT, SPEC_HASH
from training.artifact import LoadedReleases, load_releases
from training.batching import Batcher, BatchLimits, EndpointBusy
from training.http_server import http_server
from training.invocation import (
    ATTRIBUTES_HEADER,
    SCORES_TYPE,
    Refused,
    check_content_type,
    check_length,
    decode_features,
    parse_attributes,
    plan,
)
from training.scoring import Scorer, find_device, open_scorer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

log = logging.getLogger("slidr.endpoint")

_JSON: Final = (b"content-type", b"application/json")
_ATTRIBUTES: Final = ATTRIBUTES_HEADER.encode()
_SCORES: Final = (b"content-type", SCORES_TYPE.encode())


class SettingInvalid(SlidrError):
    """An environment variable of the endpoint holds something else than it must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """How the endpoint runs. Each field is read from the environment variable named in `ENVIRONMENT`."""

    host: str = "0.0.0.0"  # noqa: S104 - SageMaker reaches the container from outside
    port: int = 8080
    user: str | None = None
    """Account that the endpoint becomes before it answers, where it was started as root; None: nobody else."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_request_rows: int = 8192
    limits: BatchLimits = field(default_factory=BatchLimits)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ServeSettings:
        """Settings from the environment; what is not set keeps its default.

        >>> ServeSettings.from_environment({"SLIDR_SERVE_WAIT_MS": "50"}).limits.wait_ms
        50

        Raises:
            SettingInvalid: a number is not a positive whole one, or the device is unknown.
        """
        defaults = cls()
        device = environment.get(ENVIRONMENT["device"], defaults.device)
        if device not in {"auto", "cpu", "cuda"}:
            raise SettingInvalid(f"{ENVIRONMENT['device']} must be auto, cpu or cuda, came {device!r}.")

        def number(name: str, default: int) -> int:
            text = environment.get(ENVIRONMENT[name], str(default))
            if not (text.isascii() and text.isdigit() and int(text) > 0):
                raise SettingInvalid(f"{ENVIRONMENT[name]} must be a whole number above 0, came {text!r}.")
            return int(text)

        return cls(
            host=environment.get(ENVIRONMENT["host"], defaults.host),
            port=number("port", defaults.port),
            user=environment.get(ENVIRONMENT["user"]) or None,
            device=cast("Literal['auto', 'cpu', 'cuda']", device),
            max_request_rows=number("max_request_rows", defaults.max_request_rows),
            limits=BatchLimits(
                batch_rows=number("batch_rows", defaults.limits.batch_rows),
                queued_rows=number("queued_rows", defaults.limits.queued_rows),
                wait_ms=number("wait_ms", defaults.limits.wait_ms),
            ),
        )


ENVIRONMENT: Final = {
    "host": "SLIDR_SERVE_HOST",
    "port": "SAGEMAKER_BIND_TO_PORT",
    "user": "SLIDR_SERVE_USER",
    "device": "SLIDR_SERVE_DEVICE",
    "max_request_rows": "SLIDR_SERVE_MAX_REQUEST_ROWS",
    "batch_rows": "SLIDR_SERVE_BATCH_ROWS",
    "queued_rows": "SLIDR_SERVE_QUEUED_ROWS",
    "wait_ms": "SLIDR_SERVE_WAIT_MS",
}


class Endpoint:
    """The ASGI application over the releases loaded at start; SageMaker replaces the container to change them."""

    def __init__(self, loaded: LoadedReleases, scorers: Mapping[str, Scorer], settings: ServeSettings) -> None:
        self._loaded = loaded
        self._max_rows = settings.max_request_rows
        self._batcher = Batcher(scorers, settings.limits)
        self._health = json.dumps(
            {
                "champion": loaded.champion,
                "stable": loaded.stable,
                "releases": sorted(loaded.by_id),
                "features": SPEC_HASH,
                "backend": next((scorer.backend for scorer in scorers.values()), None),
            }
        ).encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            raise SlidrError(f"the endpoint speaks HTTP, came {scope['type']}; run it with lifespan and websockets off")
        status, headers, body = await self._answer(scope, receive)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, receive: Receive) -> tuple[int, Headers, bytes]:
        route = (scope["method"], scope["path"])
        try:
            if route == ("POST", "/invocations"):
                return await self._invoke(scope["headers"], receive)
            if route == ("GET", "/ping"):
                return 200, [_JSON], self._health
            _refuse_route(*route)
        except Refused as refused:
            log.warning("invocation_refused", extra={"fields": {"status": refused.status, "reason": str(refused)}})
            return refused.status, [_JSON], refused.body()
        except EndpointBusy as busy:
            body = json.dumps({"error": "busy", "expected": "fewer rows at once", "came": str(busy)}).encode()
            return 429, [_JSON, (b"retry-after", b"1")], body

    async def _invoke(self, headers: Headers, receive: Receive) -> tuple[int, Headers, bytes]:
        content_type = attributes = ""
        length = 0
        for name, value in headers:
            if name == b"content-type":
                content_type = value.decode("latin-1")
            elif name == _ATTRIBUTES:
                attributes = value.decode("latin-1")
            elif name == b"content-length":
                length = int(value)
        check_length(length, max_rows=self._max_rows)
        check_content_type(content_type)
        asked = parse_attributes(attributes)
        chosen = plan(asked, self._loaded)
        features = decode_features(await self._read(receive), rows=asked.rows)
        body = await self._batcher.score(chosen, features)
        return 200, [_SCORES, (_ATTRIBUTES, chosen.header())], body

    async def _read(self, receive: Receive) -> bytes:
        message = await receive()
        first: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return first
        parts, length = [first], len(first)
        while message.get("more_body", False):
            message = await receive()
            parts.append(message.get("body", b""))
            length += len(parts[-1])
            check_length(length, max_rows=self._max_rows)
        return b"".join(parts)


def _refuse_route(method: str, path: str) -> NoReturn:
    raise Refused(404, "no_such_route", expected="GET /ping or POST /invocations", came=f"{method} {path}")


def open_endpoint(model_dir: Path, settings: ServeSettings) -> Endpoint:
    """Load every release of a model directory, warm it up and freeze it out of the garbage collector's sight.

    Raises:
        ReleaseInvalid: the directory holds a bundle that is not whole. Better no container than a wrong one.
        RowsNotIndependent: see `training.scoring.open_scorer`.
    """
    started = time.monotonic()
    loaded = load_releases(model_dir)
    device = find_device(settings.device)
    scorers = {identity: open_scorer(release.weights, device) for identity, release in loaded.by_id.items()}
    for scorer in scorers.values():
        scorer.score(np.zeros((settings.limits.batch_rows, FEATURE_COUNT), dtype=np.float32))
    endpoint = Endpoint(loaded, scorers, settings)
    gc.collect()
    gc.freeze()
    fields = {
        "champion": loaded.champion,
        "stable": loaded.stable,
        "releases": sorted(loaded.by_id),
        "features": SPEC_HASH,
        "backend": next((scorer.backend for scorer in scorers.values()), None),
        "load_ms": round((time.monotonic() - started) * 1000),
    }
    log.info("releases_loaded", extra={"fields": fields})
    return endpoint


def _become(user: str) -> None:
    try:
        account = pwd.getpwnam(user)
    except KeyError as failure:
        raise SettingInvalid(f"{ENVIRONMENT['user']} must be an account of this machine, came {user!r}.") from failure
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def serve(model_dir: Path, settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    endpoint = open_endpoint(model_dir, settings)
    config = http_server(endpoint, host=settings.host, port=settings.port)
    config.load()
    loop_factory = config.get_loop_factory()
    listening = config.bind_socket()
    if settings.user is not None and os.geteuid() == 0:
        _become(settings.user)  # now that model and modules are read: they may belong to root
    log.info("endpoint_started", extra={"fields": {"host": settings.host, "port": settings.port}})
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[listening]))
