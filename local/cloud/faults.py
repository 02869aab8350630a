"""Faults on purpose: chosen requests are answered as a service in trouble answers them, until the fault is healed.

    curl $URL/_slidr/faults -d '{"service": "kinesis", "operation": "PutRecords", "resource": "slidr-local-verdicts",
                                 "error": "ProvisionedThroughputExceededException", "each": "entry", "share": 0.3}'
    curl $URL/_slidr/faults                 # the faults in force, and how much they have touched
    curl -X DELETE $URL/_slidr/faults       # heals all

$URL is where the emulator answers (`slidr status`).
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import msgspec

from slidr.errors import SlidrError

PATH: Final = "/_slidr/faults"
_STATUS: Final = {
    "InternalError": 500,
    "InternalFailure": 500,
    "InternalServerError": 500,
    "ModelError": 424,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
}
"""HTTP status by error code; 400 for all others, throttles among them."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[..., Any]
Headers = Sequence[tuple[bytes, bytes]]


class FaultRefused(SlidrError):
    """A fault that cannot be made."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which requests are touched, and how they are answered."""

    service: str
    """As requests are signed for it: kinesis, dynamodb, sqs, s3, sagemaker, ..."""
    operation: str
    """PutRecords, BatchGetItem, InvokeEndpoint, ...; the HTTP method for S3."""
    resource: str = ""
    """Text that the path or the body must hold: the name of a stream, a table, an endpoint."""
    error: str | None = None
    """The service's error code; null: the request goes through, after its delay."""
    each: Literal["request", "entry"] = "request"
    """Whether whole requests are refused, or single entries of PutRecords, BatchGetItem and SendMessageBatch."""
    only: str = ""
    """With `entry`: text that an entry must hold to be refused."""
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """How many of the requests (entries) are refused, drawn at random."""
    delay_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How long a touched request waits first."""

    def __post_init__(self) -> None:
        if self.error is None and not self.delay_ms:
            raise ValueError("an error, a delay_ms, or both are required")
        if self.each == "entry" and (self.error is None or self.operation not in _ENTRIES):
            raise ValueError(f"with each=entry an error is required, and one of the operations {', '.join(_ENTRIES)}")


def inject(endpoint_url: str, fault: Fault) -> None:
    """Put a fault in force.

    Raises:
        FaultRefused: the emulator did not take it.
    """
    _ask(endpoint_url, "POST", msgspec.json.encode(fault))


def heal(endpoint_url: str) -> None:
    """End all faults."""
    _ask(endpoint_url, "DELETE")


def touched(endpoint_url: str) -> int:
    """How many requests or entries the faults in force have refused or delayed."""
    return sum(fault["touched"] for fault in _ask(endpoint_url, "GET"))


def _ask(endpoint_url: str, method: str, body: bytes = b"") -> Any:
    connection = http.client.HTTPConnection(endpoint_url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, PATH, body=body)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise FaultRefused(f"the emulator must take a fault, it answered {answer.status}: {text.decode()}")
    return json.loads(text)


@dataclass(slots=True)
class _InForce:
    fault: Fault
    touched: int = 0


@dataclass(frozen=True, slots=True)
class _Request:
    """What a fault is matched with."""

    service: str
    operation: str
    path: str
    body: bytes

    def is_meant(self, fault: Fault) -> bool:
        named = fault.resource in self.path or fault.resource.encode() in self.body
        return named and (fault.service, fault.operation) == (self.service, self.operation)


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    headers: Headers
    body: bytes


class Faults:
    """The faults in force, in front of the emulator."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._in_force: list[_InForce] = []

    def in_front_of(self, app: AsgiApp) -> AsgiApp:
        """Return an ASGI application that answers PATH and what is touched, and hands everything else to `app`."""

        async def serve(scope: Any, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] == PATH:
                await _send(send, self._administer(scope["method"], await _body(receive)))
            elif scope["type"] == "http" and self._in_force:
                await self._touch(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return serve

    def _administer(self, method: str, body: bytes) -> _Response:
        if method == "DELETE":
            self._in_force = []
        elif method == "POST":
            try:
                self._in_force.append(_InForce(msgspec.json.decode(body, type=Fault)))
            except msgspec.DecodeError as failure:
                return _json(400, {"error": str(failure)})
        listed = [msgspec.to_builtins(one.fault) | {"touched": one.touched} for one in self._in_force]
        return _json(200, listed)

    async def _touch(self, app: AsgiApp, scope: Any, receive: Receive, send: Send) -> None:
        request = _request(scope, await _body(receive))
        merges: list[Callable[[Any], Any]] = []
        for one in [one for one in self._in_force if request.is_meant(one.fault)]:
            fault = one.fault
            if fault.each == "entry":
                left, merge, refused = _without_some(request, fault, self._draw)
                one.touched += refused
                request = replace(request, body=left)
                merges.append(merge)
            elif self._draw() < fault.share:
                one.touched += 1
            else:
                continue
            if fault.delay_ms:
                await asyncio.sleep(fault.delay_ms / 1000)
            if fault.error is not None and fault.each == "request":
                await _send(send, _refusal(request, fault.error))
                return
        if not merges:
            await app(scope, _replayed(request.body), send)
            return
        response = await _answer_of(app, scope, request)
        if response.status == 200:
            answer = json.loads(response.body)
            for merge in reversed(merges):
                answer = merge(answer)
            response = _json(200, answer)
        await _send(send, response)


def _request(scope: Any, body: bytes) -> _Request:
    headers = {name.lower().decode(): value.decode("latin-1") for name, value in scope["headers"]}
    scopes = headers.get("authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
    target = headers.get("x-amz-target", "").rpartition(".")[2]
    if not target:
        target = "InvokeEndpoint" if scope["path"].endswith("/invocations") else scope["method"]
    return _Request(service=scopes[3] if len(scopes) > 3 else "", operation=target, path=scope["path"], body=body)


def _refusal(request: _Request, error: str) -> _Response:
    message = f"{error} by a fault of the local cloud (curl -X DELETE {PATH} heals it)"
    if request.service == "s3":
        body = f"<Error><Code>{error}</Code><Message>{message}</Message></Error>".encode()
        return _Response(_STATUS.get(error, 400), [(b"content-type", b"application/xml")], body)
    headers = [(b"content-type", b"application/x-amz-json-1.1"), (b"x-amzn-errortype", error.encode())]
    return _Response(_STATUS.get(error, 400), headers, json.dumps({"__type": error, "message": message}).encode())


@dataclass(frozen=True, slots=True)
class _Entries:
    """Where an operation has its entries, and how its answer names those that it refuses."""

    of: Callable[[Any], dict[Any, Any]]
    """The entries of a request, by a key that `left` and `refuse` know."""
    left: Callable[[Any, Sequence[Any]], Any]
    """The request with these entries alone."""
    refuse: Callable[[Any, Mapping[Any, Any], Sequence[Any], str], Any]
    """The answer to the whole request: that to what was left, all entries, the refused keys, the error."""


def _without_some(
    request: _Request, fault: Fault, draw: Callable[[], float]
) -> tuple[bytes, Callable[[Any], Any], int]:
    """The body without the refused entries, what makes the answer to it that to the whole, and how many are refused."""
    entries = _ENTRIES[fault.operation]
    asked = json.loads(request.body)
    found = entries.of(asked)
    refused = [key for key, entry in found.items() if fault.only in json.dumps(entry) and draw() < fault.share]
    kept = [key for key in found if key not in set(refused)]
    error = fault.error or ""
    return (
        json.dumps(entries.left(asked, kept)).encode(),
        lambda answer: entries.refuse(answer, found, refused, error),
        len(refused),
    )


def _refuse_records(answer: Any, found: Mapping[Any, Any], refused: Sequence[Any], error: str) -> Any:
    taken = iter(answer["Records"])
    no = {"ErrorCode": error, "ErrorMessage": "a fault of the local cloud"}
    records = [no if key in set(refused) else next(taken) for key in found]
    return answer | {"Records": records, "FailedRecordCount": answer.get("FailedRecordCount", 0) + len(refused)}


def _refuse_keys(answer: Any, found: Mapping[Any, Any], refused: Sequence[Any], _error: str) -> Any:
    unread: dict[str, Any] = answer.get("UnprocessedKeys") or {}
    for table, index in refused:
        unread.setdefault(table, {"Keys": []})["Keys"].append(found[table, index])
    return answer | {"UnprocessedKeys": unread}


def _refuse_messages(answer: Any, found: Mapping[Any, Any], refused: Sequence[Any], error: str) -> Any:
    failed = [{"Id": found[key]["Id"], "Code": error, "SenderFault": False} for key in refused]
    return answer | {"Failed": [*(answer.get("Failed") or []), *failed]}


def _list_of(name: str) -> tuple[Callable[[Any], dict[Any, Any]], Callable[[Any, Sequence[Any]], Any]]:
    return (
        lambda asked: dict(enumerate(asked[name])),
        lambda asked, kept: asked | {name: [asked[name][index] for index in kept]},
    )


def _left_keys(asked: Any, kept: Sequence[Any]) -> Any:
    tables = {
        table: items | {"Keys": [key for index, key in enumerate(items["Keys"]) if (table, index) in set(kept)]}
        for table, items in asked["RequestItems"].items()
    }
    return asked | {"RequestItems": {table: items for table, items in tables.items() if items["Keys"]}}


_ENTRIES: Final[Mapping[str, _Entries]] = {
    "PutRecords": _Entries(*_list_of("Records"), _refuse_records),
    "SendMessageBatch": _Entries(*_list_of("Entries"), _refuse_messages),
    "BatchGetItem": _Entries(
        lambda asked: {
            (table, index): key
            for table, items in asked["RequestItems"].items()
            for index, key in enumerate(items["Keys"])
        },
        _left_keys,
        _refuse_keys,
    ),
}


async def _answer_of(app: AsgiApp, scope: Any, request: _Request) -> _Response:
    """What `app` answers to the entries that are left; nothing is asked where none is."""
    if not _ENTRIES[request.operation].of(json.loads(request.body)):
        return _json(200, {"Records": [], "Responses": {}, "Successful": []})
    headers = [pair for pair in scope["headers"] if pair[0].lower() != b"content-length"]
    headers.append((b"content-length", str(len(request.body)).encode()))
    status, sent = 500, bytearray()

    async def keep(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            sent.extend(message.get("body", b""))

    await app({**scope, "headers": headers}, _replayed(request.body), keep)
    return _Response(status, [(b"content-type", b"application/x-amz-json-1.1")], bytes(sent))


def _json(status: int, value: object) -> _Response:
    return _Response(status, [(b"content-type", b"application/x-amz-json-1.1")], json.dumps(value).encode())


async def _body(receive: Receive) -> bytes:
    parts = bytearray()
    while True:
        message = await receive()
        parts.extend(message.get("body", b""))
        if not message.get("more_body"):
            return bytes(parts)


def _replayed(body: bytes) -> Receive:
    """`receive` of a request whose body was read already."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        return next(messages, {"type": "http.disconnect"})

    return receive


async def _send(send: Send, response: _Response) -> None:
    headers = [*response.headers, (b"content-length", str(len(response.body)).encode())]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
