"""Counters over TLS with a token, as ElastiCache asks for: the same counts, and no way round the checks."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_socket import enable_socket
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from functions.adapters.counter_calls import encode, library
from functions.adapters.counters import Counters
from local.valkey import Valkey, server_binary, start_valkey
from slidr.counter_batch import CounterBatch
from slidr.counters import CAPS, Caps
from slidr.errors import CountersUnavailable
from tests.counter_histories import NOON_MS, TIGHT_CAPS, histories, hot_key, joined, one_key
from tests.counter_oracle import Oracle
from tests.valkey.conftest import Cache
from tests.valkey.test_counters_fail import move_slot
from tests.valkey.tls import HOST, Authority, Terminator, new_authority
from training.counters_kernel import count

pytestmark = pytest.mark.valkey
TOKEN = "a-token-of-at-least-16-characters"  # noqa: S105
USER, USERS_TOKEN = "counters", "another-token-of-16-characters"
RIGHTS = ["+fcall", "+get", "+set", "+function|load", "+cluster|slots", "+command", "+asking"]
"""All that the counters use: one function call, what the function calls, what a cluster's client asks."""
BACK_WITHIN_S = 20
SMALL = hypothesis_settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True)
class Secured(Cache):
    """A cache that asks for a token, behind TLS; one terminator a node."""

    terminators: tuple[Terminator, ...] = ()
    opened: dict[Caps, Counters] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return self.terminators[0].port

    def counters(self, caps: Caps = CAPS) -> Counters:
        if caps not in self.opened:
            self.opened[caps] = secured_counters(self.port, cluster=self.server.cluster, caps=caps)
        return self.opened[caps]

    def nodes(self) -> list[Redis]:
        return [admin(port) for port in self.server.ports]


def admin(port: int) -> Redis:
    return Redis(host=HOST, port=port, password=TOKEN, socket_timeout=5)


def secured_counters(
    port: int,
    *,
    cluster: bool = False,
    host: str = HOST,
    tls: bool = True,
    username: str | None = None,
    password: str | None = TOKEN,
    timeout_ms: int = 5_000,
    caps: Caps = CAPS,
) -> Counters:
    return Counters.connect(
        host=host,
        port=port,
        cluster=cluster,
        tls=tls,
        timeout_ms=timeout_ms,
        username=username,
        password=password,
        caps=caps,
    )


def ask_for_a_token(port: int, *, announced_port: int | None = None) -> None:
    with Redis(host=HOST, port=port) as node:
        node.acl_setuser(USER, enabled=True, passwords=[f"+{USERS_TOKEN}"], keys=["*"], commands=RIGHTS)
        if announced_port is not None:
            node.config_set("cluster-announce-port", announced_port)
        node.config_set("requirepass", TOKEN)


@contextmanager
def secured(folder: Path, certificate: Path, *, nodes: int) -> Iterator[Secured]:
    with ExitStack() as running:
        server = running.enter_context(start_valkey(folder, nodes=nodes, node_timeout_ms=2_000))
        terminators = tuple(running.enter_context(Terminator(port, certificate).running()) for port in server.ports)
        for port, terminator in zip(server.ports, terminators, strict=True):
            ask_for_a_token(port, announced_port=terminator.port if server.cluster else None)
        cache = Secured(server, terminators=terminators)
        wait_until(lambda: announces_terminators(cache))
        yield cache
        for counters in cache.opened.values():
            counters.close()


def announces_terminators(cache: Secured) -> bool:
    if not cache.server.cluster:
        return True
    ports = {terminator.port for terminator in cache.terminators}
    maps = cache.each(lambda node: node.execute_command("CLUSTER SHARDS"))
    return all(str(port) in str(seen) for seen in maps for port in ports)


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BACK_WITHIN_S
    while not ready():
        assert time.monotonic() < deadline, "the cluster did not become ready in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"), "trusted")


@pytest.fixture(autouse=True)
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes an operator's own authority trusted by every default context of the process."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))


@pytest.fixture(scope="module")
def single(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    enable_socket()
    with secured(tmp_path_factory.mktemp("single"), authority.issue(HOST, "localhost"), nodes=1) as cache:
        yield cache


@pytest.fixture(scope="module")
def cluster(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    enable_socket()
    with secured(tmp_path_factory.mktemp("cluster"), authority.issue(HOST, "localhost"), nodes=3) as cache:
        yield cache


@pytest.fixture(params=["single", "cluster"])
def cache(request: pytest.FixtureRequest) -> Secured:
    cache: Secured = request.getfixturevalue(request.param)
    cache.flush()
    return cache


def check_agreement(cache: Secured, batches: list[CounterBatch], caps: Caps) -> None:
    cache.flush()
    oracle, online = Oracle(caps), []
    for batch in batches:
        online.append(cache.counters(caps).apply(batch))
        np.testing.assert_array_equal(online[-1], oracle.apply(batch))
    np.testing.assert_array_equal(np.concatenate(online), count(joined(batches), caps=caps))


@SMALL
@given(batches=histories(), caps=st.sampled_from(TIGHT_CAPS))
def test_counts_over_tls_equal_those_of_the_oracle(single: Secured, batches: list[CounterBatch], caps: Caps) -> None:
    check_agreement(single, batches, caps)


@SMALL
@given(batches=histories(), caps=st.sampled_from(TIGHT_CAPS))
def test_counts_of_a_cluster_over_tls_equal_those_of_the_oracle(
    cluster: Secured, batches: list[CounterBatch], caps: Caps
) -> None:
    check_agreement(cluster, batches, caps)


def test_every_connection_of_the_counters_goes_through_tls(cache: Secured) -> None:
    batch = hot_key(100, seed=3)
    before = [terminator.passed_on for terminator in cache.terminators]
    counters = secured_counters(cache.port, cluster=cache.server.cluster)
    np.testing.assert_array_equal(counters.apply(batch), count(batch))
    counters.close()
    assert all(now.passed_on > then for now, then in zip(cache.terminators, before, strict=True))


def test_user_of_the_access_list_needs_no_more_than_these_rights(cache: Secured) -> None:
    cache.each(lambda node: node.function_flush())
    counters = secured_counters(cache.port, cluster=cache.server.cluster, username=USER, password=USERS_TOKEN)
    batch = one_key([NOON_MS + i for i in range(5)])
    np.testing.assert_array_equal(counters.apply(batch), count(batch))
    counters.close()


def test_function_is_loaded_on_every_primary_over_tls(cluster: Secured) -> None:
    cluster.flush()
    cluster.each(lambda node: node.function_flush())
    batch = hot_key(100, seed=5)
    np.testing.assert_array_equal(cluster.counters().apply(batch), count(batch))
    name = library().name
    assert all(name in str(libraries) for libraries in cluster.each(lambda node: node.function_list()))


def test_follows_a_moved_slot_over_tls(authority: Authority, tmp_path: Path) -> None:
    with secured(tmp_path, authority.issue(HOST), nodes=3) as cache:
        batch = one_key([NOON_MS + i for i in range(6)], session=[1] * 6)
        cache.counters().apply(batch)  # now the map is known
        cache.flush()
        key = encode(batch, "f").keys[0]
        _, target = move_slot(cache, key_slot(key))
        np.testing.assert_array_equal(cache.counters().apply(batch), count(batch))
        assert target.exists(key) == 1


def test_lost_node_is_doubt_and_counting_resumes_over_tls_when_it_is_back(authority: Authority, tmp_path: Path) -> None:
    with secured(tmp_path, authority.issue(HOST), nodes=3) as cache:
        counters, batch = cache.counters(), hot_key(100, seed=7)
        counters.apply(batch)
        lost = cache.server.processes[2]
        lost.kill()
        lost.wait()
        with pytest.raises(CountersUnavailable, match="undecided"):
            counters.apply(batch)

        again = subprocess.Popen(lost.args, stdin=subprocess.DEVNULL)
        with Valkey(ports=cache.server.ports[2:], processes=(again,)):
            wait_until(lambda: answers(cache.server.ports[2]))
            ask_for_a_token(cache.server.ports[2], announced_port=cache.terminators[2].port)
            wait_until(lambda: announces_terminators(cache) and serves(counters, batch))
            cache.flush()
            np.testing.assert_array_equal(counters.apply(batch), count(batch))


def answers(port: int) -> bool:
    try:
        with Redis(host=HOST, port=port) as node:
            return bool(node.ping())
    except (RedisError, OSError):
        return False


def serves(counters: Counters, batch: CounterBatch) -> bool:
    try:
        counters.apply(batch)
    except CountersUnavailable:
        return False
    return True


def refusal(counters: Counters) -> str:
    """What the counters say when they refuse to count."""
    try:
        with pytest.raises(CountersUnavailable) as refused:
            counters.apply(one_key([NOON_MS]))
    finally:
        counters.close()
    return str(refused.value)


def test_certificate_of_an_authority_nobody_trusts_is_refused(cache: Secured, tmp_path: Path) -> None:
    untrusted = new_authority(tmp_path, "untrusted").issue(HOST, "localhost")
    with Terminator(cache.server.port, untrusted).running() as impostor:
        said = refusal(secured_counters(impostor.port, cluster=cache.server.cluster))
        assert impostor.passed_on == 0  # nobody told the impostor a token
    assert "certificate verify failed" in said
    assert "certificate" in said.split("check", 1)[1]


@pytest.mark.parametrize(("host", "names"), [(HOST, ("localhost",)), ("localhost", (HOST, "elsewhere.example"))])
def test_certificate_of_another_host_is_refused(
    single: Secured, authority: Authority, host: str, names: tuple[str, ...]
) -> None:
    with Terminator(single.server.port, authority.issue(*names)).running() as elsewhere:
        said = refusal(secured_counters(elsewhere.port, host=host))
        assert elsewhere.passed_on == 0
    assert "mismatch" in said


def test_host_name_of_the_certificate_is_accepted(single: Secured) -> None:
    single.flush()
    counters, batch = secured_counters(single.port, host="localhost"), one_key([NOON_MS])
    np.testing.assert_array_equal(counters.apply(batch), count(batch))
    counters.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_protocol_older_than_tls_1_2_is_refused(single: Secured, authority: Authority) -> None:
    old = ssl.TLSVersion.TLSv1_1
    with Terminator(single.server.port, authority.issue(HOST), oldest=old, newest=old).running() as terminator:
        said = refusal(secured_counters(terminator.port))
        assert terminator.passed_on == 0
    assert "protocol" in said.lower()


@pytest.mark.parametrize(
    ("username", "password", "said"),
    [
        (None, "not-the-token-of-the-cache", "WRONGPASS|invalid username-password"),
        (None, None, "Authentication required|already authenticated"),
        (USER, TOKEN, "WRONGPASS|invalid username-password"),
        ("nobody", USERS_TOKEN, "WRONGPASS|invalid username-password"),
    ],
)
def test_wrong_token_is_refused_and_the_message_says_where_to_look(
    cache: Secured, username: str | None, password: str | None, said: str
) -> None:
    counters = secured_counters(cache.port, cluster=cache.server.cluster, username=username, password=password)
    with pytest.raises(CountersUnavailable, match=said) as refused:
        counters.apply(one_key([NOON_MS]))
    counters.close()
    assert "token" in str(refused.value).split("check", 1)[1]
    assert cache.state() == {}
    for token in (TOKEN, USERS_TOKEN, "not-the-token-of-the-cache"):
        assert token not in str(refused.value)


def test_client_without_tls_gets_nothing_from_a_tls_port(cache: Secured) -> None:
    refusal(secured_counters(cache.port, cluster=cache.server.cluster, tls=False))
    assert cache.state() == {}


def test_client_with_tls_never_falls_back_to_clear_text(cache: Secured) -> None:
    port = cache.server.port  # the server's own, which speaks in clear
    said = refusal(secured_counters(port, cluster=cache.server.cluster, timeout_ms=300))
    assert "SSL" in said or "ssl" in said or "Timeout" in said
    assert cache.state() == {}


@pytest.mark.parametrize("as_cluster", [False, True])
def test_silence_during_the_handshake_ends_in_doubt(as_cluster: bool) -> None:
    with socket.create_server((HOST, 0)) as silent:  # the kernel accepts, nobody answers
        said = refusal(secured_counters(silent.getsockname()[1], cluster=as_cluster, timeout_ms=100))
    assert "timed out" in said or "Timeout connecting" in said


def test_counts_over_the_servers_own_tls(authority: Authority, tmp_path: Path) -> None:
    """A system server with TLS built in (Debian's redis-server, say): no terminator between."""
    certificate = str(authority.issue(HOST))
    if b"libssl" not in server_binary().read_bytes():
        pytest.skip("the Valkey server on this machine has no TLS of its own; the terminator's tests stand in")
    with socket.create_server((HOST, 0)) as held:
        tls_port = held.getsockname()[1]
    with start_valkey(tmp_path) as server:
        with Redis(host=HOST, port=server.port) as node:
            files = {"tls-cert-file": certificate, "tls-key-file": certificate, "tls-ca-cert-file": authority.file}
            settings = {**files, "tls-auth-clients": "no", "tls-port": tls_port}
            node.config_set(*[str(part) for setting in settings.items() for part in setting])
        ask_for_a_token(server.port)
        counters, batch = secured_counters(tls_port), hot_key(100, seed=9)
        np.testing.assert_array_equal(counters.apply(batch), count(batch))
        counters.close()
