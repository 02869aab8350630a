"""SageMaker endpoints: fleets of serving containers, rolled blue/green, restarted when dead, and their traffic."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.cloud import seams
from local.cloud.containers import ContainerFailed, ContainerHost, ServingContainer, start_serving
from local.cloud.supervision import ProcessReport, Supervised
from slidr.errors import SlidrError

_INVOCATION_LIMIT_S = 60.0
_DRAIN_S = 1.0


class EndpointMissing(SlidrError):
    """There is no endpoint, or no variant, of that name in service."""


class ModelError(SlidrError):
    """The container answered with an error, or not at all; carries its own status."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class VariantPlan:
    """One production variant to start: the model's data, environment and share of the traffic."""

    name: str
    model_data_url: str | None
    environment: Mapping[str, str]
    weight: float


@dataclass(slots=True, eq=False)
class Variant:
    """One production variant in service; its container is replaced where it dies."""

    plan: VariantPlan
    container: ServingContainer
    supervised: Supervised = field(init=False)


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What InvokeEndpoint gives back."""

    body: bytes
    content_type: str
    custom_attributes: str | None
    variant: str


@dataclass(slots=True)
class Endpoints:
    """The fleets in service, by endpoint name."""

    host: ContainerHost
    _fleets: dict[str, tuple[Variant, ...]] = field(default_factory=dict)
    _local: threading.local = field(default_factory=threading.local)

    def roll(self, name: str, plans: tuple[VariantPlan, ...], *, baked: Callable[[], str] = str) -> None:
        """Start a fleet; when all of it answers, give it the traffic and end the old one. A failure keeps the old one.

        Args:
            name: of the endpoint.
            plans: of the new fleet.
            baked: waits for as long as the old fleet is to be kept; the name of an alarm gives it the traffic back.

        Raises:
            ContainerFailed: a container of the new fleet did not come up, or an alarm took the update back.
        """
        started: list[Variant] = []
        try:
            for plan in plans:
                variant = Variant(plan, self._start(name, plan))
                variant.supervised = self._supervised(name, variant)
                started.append(variant)
        except BaseException:
            for variant in started:
                variant.container.stop()
            raise
        old = self._fleets.get(name, ())
        self._fleets[name] = tuple(started)
        if old and (alarm := baked()):
            self._fleets[name] = old
            self._stop_later(tuple(started))
            raise ContainerFailed(f"the alarm {alarm} is in state ALARM: the update was rolled back")
        self._stop_later(old)

    def remove(self, name: str) -> None:
        """End the endpoint's fleet."""
        for variant in self._fleets.pop(name, ()):
            variant.container.stop()

    def remove_all(self) -> None:
        """End every fleet."""
        for name in list(self._fleets):
            self.remove(name)

    def supervised(self) -> list[Supervised]:
        """Return every container in service: what a supervisor is to look after."""
        return [variant.supervised for fleet in list(self._fleets.values()) for variant in fleet]

    def processes(self) -> dict[str, ProcessReport]:
        """Return how each container in service is."""
        return {supervised.name: supervised.report() for supervised in self.supervised()}

    def runs(self, name: str) -> bool:
        """Whether every container of the endpoint is alive."""
        fleet = self._fleets.get(name, ())
        return bool(fleet) and all(variant.container.runs for variant in fleet)

    def _start(self, name: str, plan: VariantPlan) -> ServingContainer:
        return start_serving(
            self.host, f"{name}-{plan.name}", model_data_url=plan.model_data_url, environment=plan.environment
        )

    def _supervised(self, name: str, variant: Variant) -> Supervised:
        def restart() -> None:
            container = self._start(name, variant.plan)
            variant.container = container
            if variant not in self._fleets.get(name, ()):
                container.stop()  # the fleet was replaced or removed meanwhile

        def pid() -> int | None:
            container = variant.container
            return container.process.pid if container.runs else None

        return Supervised(name=f"container {name}/{variant.plan.name}", pid=pid, restart=restart)

    def invoke(self, name: str, body: bytes, headers: Mapping[str, str]) -> ModelAnswer:
        """Send one request to a container. `headers` are the container's: Content-Type, Accept, custom attributes.

        Raises:
            EndpointMissing: no such endpoint or variant.
            ModelError: the container refused, failed or did not answer.
        """
        fleet = self._fleets.get(name)
        if not fleet:
            raise EndpointMissing(
                f"Endpoint {name} of account {seams.reach('core.responses.get_account_id')()} not found."
            )
        variant = _choose(fleet, headers.get("x-amzn-sagemaker-target-variant"))
        began = time.perf_counter()
        status = 500
        try:
            status, answer_headers, answer = self._send(variant, body, headers)
        except (OSError, http.client.HTTPException) as failure:
            raise ModelError(f"the container did not answer: {failure!r}", status=500) from failure
        finally:
            _measure(name, variant.plan.name, status, time.perf_counter() - began)
        if status >= 400:
            raise ModelError(answer.decode(errors="replace"), status=status)
        return ModelAnswer(
            body=answer,
            content_type=answer_headers.get("content-type", "application/octet-stream"),
            custom_attributes=answer_headers.get("x-amzn-sagemaker-custom-attributes"),
            variant=variant.plan.name,
        )

    def _send(self, variant: Variant, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Send over this thread's open connection to the container; once more if that had been closed meanwhile."""
        passed = {
            key: value
            for key, value in headers.items()
            if key in ("content-type", "accept", "x-amzn-sagemaker-custom-attributes", "x-amzn-sagemaker-inference-id")
        }
        pool: dict[int, http.client.HTTPConnection] = self._local.__dict__.setdefault("pool", {})
        port = variant.container.port
        for fresh in (False, True):
            connection = None if fresh else pool.get(port)
            reused = connection is not None
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_INVOCATION_LIMIT_S)
                pool[port] = connection
            try:
                connection.request("POST", "/invocations", body=body, headers=passed)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                pool.pop(port, None)
                if not reused:
                    raise
                continue
            return response.status, {key.lower(): value for key, value in response.getheaders()}, answer
        raise http.client.HTTPException("unreachable")  # the second pass always returns or raises

    @staticmethod
    def _stop_later(fleet: tuple[Variant, ...]) -> None:
        """End the old fleet when the requests that it still answers have had time to end."""

        def stop() -> None:
            time.sleep(_DRAIN_S)
            for variant in fleet:
                variant.container.stop()

        if fleet:
            threading.Thread(target=stop, name="drain", daemon=True).start()


def _choose(fleet: tuple[Variant, ...], target: str | None) -> Variant:
    if target:
        for variant in fleet:
            if variant.plan.name == target:
                return variant
        raise EndpointMissing(f"Variant {target} not found.")
    if len(fleet) == 1:
        return fleet[0]
    return random.choices(fleet, weights=[variant.plan.weight for variant in fleet])[0]


def _measure(endpoint: str, variant: str, status: int, seconds: float) -> None:
    """Emit the service's own metrics of one invocation."""
    record: Any = seams.reach("services.cloudwatch.record_metric")
    dimensions = {"EndpointName": endpoint, "VariantName": variant}
    record("AWS/SageMaker", "Invocations", 1, "Count", dimensions)
    record("AWS/SageMaker", "ModelLatency", seconds * 1e6, "Microseconds", dimensions)
    record("AWS/SageMaker", "Invocation4XXErrors", 1 if 400 <= status < 500 else 0, "Count", dimensions)
    record("AWS/SageMaker", "Invocation5XXErrors", 1 if status >= 500 else 0, "Count", dimensions)
