"""Counters in Redis or Valkey: one server-side call a key and click, one pipeline a cache node and batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import Connection, ConnectionPool
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as Silence
from redis.retry import Retry

from functions.adapters.counter_calls import Calls, decode, encode, library
from slidr.counter_batch import CounterBatch
from slidr.counters import CAPS, Caps
from slidr.errors import CountersUnavailable

Client = Redis | RedisCluster
Reply = bytes | RedisError

ATTEMPTS: Final = 5
"""Sendings of a call that met a lost connection, a moved key or a missing function; a call is idempotent.
A key half way to a node without the function takes four: asked, missing, asked again, answered."""
_ASKING: Final = b"*1\r\n$6\r\nASKING\r\n"
_MOVED: Final = (MovedError, AskError, TryAgainError, ClusterDownError, ConnectionLost)
_FAILED_OVER: Final = (RedisClusterException, Silence, ReadOnlyError)
"""What a client says whose picture of the cache may be old: its map has holes, its node fell silent (a lost host never
refuses a connection), or is a replica now. The batch is lost to doubt; the next one asks the cache's address again."""


class Counters:
    """The counters of one cache: a single server or a cluster. Opens no connection before the first batch."""

    def __init__(self, open_client: Callable[[], Client], *, caps: Caps = CAPS) -> None:
        self._open_client = open_client
        self._client: Client | None = None
        self._library = library(caps)

    @classmethod
    def connect(
        cls,
        *,
        host: str,
        port: int,
        cluster: bool,
        tls: bool,
        timeout_ms: int,
        username: str | None = None,
        password: str | None = None,
        caps: Caps = CAPS,
    ) -> Self:
        """The counters at an address.

        Args:
            host: of the server, or of any node of the cluster (its configuration endpoint).
            port: of the same.
            cluster: whether to speak the cluster protocol.
            tls: whether to encrypt, by TLS 1.2 or newer; the certificate must be trusted by this machine (or by the
                file that SSL_CERT_FILE names) and be the host's.
            timeout_ms: the longest silence of a node, connecting or answering.
            username: of the access list; None for the default user.
            password: None where none is asked for.
            caps: smaller in tests only.
        """
        timeout_s = timeout_ms / 1000

        def open_client() -> Client:
            client = RedisCluster if cluster else Redis
            return client(
                host=host,
                port=port,
                username=username,
                password=password,
                ssl=tls,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),  # this class sends again itself, and only what failed
            )

        return cls(open_client, caps=caps)

    def apply(self, batch: CounterBatch, *, meanwhile: Callable[[], object] = lambda: None) -> NDArray[np.int32]:
        """Apply the clicks in order and read their raw counts, int32, shape (clicks, len(RAW_COLUMNS)).

        A batch may be applied again, in whole or in part: known clicks add nothing.

        Args:
            batch: the clicks.
            meanwhile: called while the nodes work, after calls were sent and before replies are read: not at all where
                none could be sent, again where some are sent again.

        Raises:
            CountersUnavailable: a node did not answer, or not with counts. Part of the batch may have been applied.
        """
        calls = encode(batch, self._library.name)
        try:
            return decode(calls, self._call(calls, meanwhile))
        except (RedisError, RedisClusterException, OSError) as failure:
            if isinstance(failure, _FAILED_OVER):
                self.close()
            raise CountersUnavailable(
                f"a counter cache that answers every call is required, but came {type(failure).__name__}: {failure}. "
                "These clicks stay undecided until replayed; check the cache's alarms, memory and network, its token "
                "and its certificate"
            ) from failure

    def close(self) -> None:
        """Close all connections; the next batch opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _call(self, calls: Calls, meanwhile: Callable[[], object]) -> list[bytes]:
        if self._client is None:
            self._client = self._open_client()
        replies: list[Reply] = [b""] * len(calls.commands)
        pending: Sequence[int] = range(len(calls.commands))
        for _ in range(ATTEMPTS):
            self._exchange(self._client, calls, pending, replies, meanwhile)
            pending = [i for i in pending if not isinstance(replies[i], bytes)]
            if not pending:
                return replies  # type: ignore[return-value]  # the line above says so
            self._recover(self._client, [replies[i] for i in pending])
        failure = replies[pending[0]]
        raise failure if isinstance(failure, RedisError) else ResponseError(f"bytes are required, came {failure!r}")

    def _exchange(
        self,
        client: Client,
        calls: Calls,
        pending: Sequence[int],
        replies: list[Reply],
        meanwhile: Callable[[], object],
    ) -> None:
        """Send the pending calls, a pipeline a node, then read: the nodes work side by side, and beside `meanwhile`."""
        asking = {i for i in pending if type(replies[i]) is AskError}
        with ExitStack() as borrowed:
            sent: list[tuple[Connection, list[int]]] = []
            for pool, places in _by_node(client, calls, pending, replies).items():
                wire = [_ASKING + calls.commands[i] if i in asking else calls.commands[i] for i in places]
                try:
                    connection = borrowed.enter_context(_borrow(pool))
                    connection.send_packed_command([b"".join(wire)])  # type: ignore[no-untyped-call]
                except RedisError as failure:
                    for i in places:
                        replies[i] = failure
                else:
                    sent.append((connection, places))
            meanwhile()
            for connection, places in sent:
                _read(connection, places, asking, replies)

    def _recover(self, client: Client, failures: Sequence[Reply]) -> None:
        """Make another sending worth while, or raise the failure that none would help."""
        missing = False
        for failure in failures:
            if isinstance(failure, ResponseError) and "Function not found" in str(failure):
                missing = True
            elif isinstance(failure, RedisError) and not isinstance(failure, _MOVED):
                raise failure
        if isinstance(client, RedisCluster) and any(isinstance(failure, _MOVED) for failure in failures):
            client.nodes_manager.initialize()
        if missing:
            client.function_load(self._library.source, replace=True)  # a cluster: on every primary


def _by_node(
    client: Client, calls: Calls, pending: Sequence[int], replies: Sequence[Reply]
) -> dict[ConnectionPool, list[int]]:
    """The places of the pending calls by the connection pool of the node that serves their key."""
    if isinstance(client, Redis):
        return {client.connection_pool: list(pending)}
    pools: dict[int, ConnectionPool] = {}
    places: defaultdict[ConnectionPool, list[int]] = defaultdict(list)
    for i in pending:
        failure = replies[i]
        asked = client.get_node(*failure.node_addr) if type(failure) is AskError else None  # type: ignore[no-untyped-call]
        if asked is not None:
            places[_pool(client, asked)].append(i)
            continue
        slot = key_slot(calls.keys[i])
        if slot not in pools:
            pools[slot] = _pool(client, client.nodes_manager.get_node_from_slot(slot))
        places[pools[slot]].append(i)
    return places


def _pool(client: RedisCluster, node: ClusterNode) -> ConnectionPool:
    return client.get_redis_connection(node).connection_pool


@contextmanager
def _borrow(pool: ConnectionPool) -> Iterator[Connection]:
    connection = pool.get_connection()
    try:
        yield connection
    except BaseException:
        # Replies that nobody read must never meet the next batch.
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.release(connection)


def _read(connection: Connection, places: Sequence[int], asking: set[int], replies: list[Reply]) -> None:
    """The replies to the calls at `places`; once the connection is lost, its loss is the reply to the rest."""
    for count, i in enumerate(places):
        try:
            if i in asking:
                connection.read_response()
            replies[i] = connection.read_response(disable_decoding=True)
        except ResponseError as failure:
            replies[i] = failure
        except RedisError as failure:
            for rest in places[count:]:
                replies[rest] = failure
            return
