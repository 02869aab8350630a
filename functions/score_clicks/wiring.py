"""The services of score_clicks, made once a cold start."""

from __future__ import annotations

import datetime as dt
import gc

import boto3
from botocore.config import Config
from pybreaker import CircuitBreaker

from functions.adapters.attempts import Attempts
from functions.adapters.counters import Counters
from functions.adapters.endpoint import Endpoint, endpoint_config
from functions.adapters.kept_connection import KeptConnection
from functions.adapters.profiles import Profiles
from functions.adapters.reject_store import RejectStore
from functions.adapters.release_store import ReleaseStore
from functions.adapters.secrets import Secrets
from functions.adapters.serving_state import ServingStateReader
from functions.adapters.signed_invocations import SignedInvocations
from functions.adapters.undecided_queue import UndecidedQueue
from functions.adapters.verdict_stream import VerdictStream
from functions.score_clicks.services import Services
from functions.score_clicks.settings import READ_ATTEMPTS, Settings
from slidr.givt import packaged_crawlers


def open_services(settings: Settings) -> Services:
    """Clients, adapters and the pseudonym key; only the secrets are read here.

    Raises:
        SecretUnavailable: no pseudonym key, no batch: the invocation fails and the stream retries it.
    """
    session = boto3.session.Session()

    def waiting(read_timeout_ms: int, *, attempts: int) -> Config:
        return Config(
            connect_timeout=settings.connect_timeout_ms / 1000,
            read_timeout=read_timeout_ms / 1000,
            retries={"mode": "standard", "total_max_attempts": attempts},
            tcp_keepalive=True,
        )

    store = waiting(settings.store_timeout_ms, attempts=READ_ATTEMPTS)
    once = waiting(settings.store_timeout_ms, attempts=1)
    dynamodb = session.client("dynamodb", config=waiting(settings.profile_timeout_ms, attempts=READ_ATTEMPTS))
    s3 = session.client("s3", config=store)
    secrets = Secrets(session.client("secretsmanager", config=store))
    publishing = Attempts(deadline_s=settings.publish_deadline_ms / 1000)
    services = Services(
        pseudonymiser=secrets.pseudonymiser(settings.pseudonym_secret_id),
        crawlers=packaged_crawlers(),
        counters=Counters.connect(
            host=settings.cache_host,
            port=settings.cache_port,
            cluster=settings.cache_cluster,
            tls=settings.cache_tls,
            timeout_ms=settings.cache_timeout_ms,
            password=secrets.text(settings.cache_secret_id) if settings.cache_secret_id else None,
        ),
        profiles=Profiles(
            dynamodb,
            settings.profile_table,
            attempts=Attempts(deadline_s=settings.profile_timeout_ms / 1000),
            keep_s=settings.profile_cache_s,
            keep_keys=settings.profile_cache_keys,
        ),
        serving_state=ServingStateReader(
            dynamodb, settings.control_table, keep_s=settings.pointer_cache_s, max_age_s=settings.pointer_max_age_s
        ),
        endpoint=Endpoint(
            _invocations(session, settings),
            settings.endpoint_name,
            breaker=CircuitBreaker(fail_max=settings.breaker_failures, reset_timeout=settings.breaker_reset_ms / 1000),
        ),
        releases=ReleaseStore(s3, settings.release_bucket),
        verdicts=VerdictStream(session.client("kinesis", config=once), settings.verdict_stream, attempts=publishing),
        undecided=UndecidedQueue(session.client("sqs", config=once), settings.undecided_queue_url, attempts=publishing),
        rejects=RejectStore(s3, settings.quarantine_bucket),
        now=lambda: dt.datetime.now(dt.UTC),
    )
    gc.collect()
    gc.freeze()  # a full collection over all that was just made would stall a batch for nothing
    return services


def _invocations(session: boto3.session.Session, settings: Settings) -> SignedInvocations:
    waits = {
        "connect_timeout_ms": settings.endpoint_connect_timeout_ms,
        "read_timeout_ms": settings.endpoint_read_timeout_ms,
    }
    client = session.client(
        "sagemaker-runtime", config=endpoint_config(**waits, attempts=settings.endpoint_attempts - 1)
    )
    return SignedInvocations(
        client, session.get_credentials(), post=KeptConnection(client.meta.endpoint_url, **waits).post
    )
