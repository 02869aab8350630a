"""What a stage is: typed settings, loaded from `stages/<stage>.toml` and overridden by `-c key=value`.

The defaults below are production's; a stage file holds only what differs. This module imports neither
aws_cdk nor anything that talks to AWS, so the command line can read a stage cheaply.
"""

from __future__ import annotations

import ipaddress
import platform
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

import msgspec

from slidr.click import Device
from slidr.errors import SlidrError

STAGE_DIRECTORY: Final = Path(__file__).parent / "stages"
Architecture = Literal["arm64", "x86_64"]


class StageInvalid(SlidrError):
    """A stage, a key or a value that the settings do not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """The three Kinesis streams."""

    shards: int = 0
    """Shards of each stream; 0 is on-demand mode, which needs no planning and scales by itself."""
    retention_h: int = 168
    """How long a click can wait for a broken consumer: a long weekend and the time to repair."""

    def __post_init__(self) -> None:
        _within("streams.shards", self.shards, 0, 10_000)
        _within("streams.retention_h", self.retention_h, 24, 8_760)


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeSettings:
    """How long stored data lives, and how it is delivered."""

    lake_days: int = 400
    """Pseudonymised clicks, purchases and verdicts: a year to compare with, then erased (rule 9)."""
    access_log_days: int = 365
    quarantine_days: int = 7
    """Rejects and failure payloads hold raw records (rule 9)."""
    buffer_mb: int = 128
    """Firehose writes an object at this size or age. 64 is the service's least with Parquet conversion."""
    buffer_s: int = 300

    def __post_init__(self) -> None:
        _within("lake.lake_days", self.lake_days, 30, 3_650)
        _within("lake.access_log_days", self.access_log_days, 1, 3_650)
        _within("lake.quarantine_days", self.quarantine_days, 1, 7)
        _within("lake.buffer_mb", self.buffer_mb, 64, 128)
        _within("lake.buffer_s", self.buffer_s, 60, 900)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """The ElastiCache for Valkey group that holds the counters."""

    node_type: str = "cache.r7g.large"
    engine_version: str = "8.1"
    cluster_mode: bool = True
    shards: int = 2
    replicas: int = 1
    """Replicas of each shard. At least one gives failover over two zones."""
    tls: bool = True
    auth: bool = True
    """Ask for a token (from Secrets Manager); the service allows it only with TLS."""
    port: int = 6380

    def __post_init__(self) -> None:
        _named("cache.node_type", self.node_type, prefix="cache.")
        _within("cache.shards", self.shards, 1, 500)
        _within("cache.replicas", self.replicas, 0, 5)
        _within("cache.port", self.port, 1_024, 65_535)
        if self.auth and not self.tls:
            raise ValueError("cache.auth requires cache.tls=true (ElastiCache refuses a token in clear); set both")
        if not self.cluster_mode and self.shards != 1:
            raise ValueError(f"cache.shards must be 1 without cache.cluster_mode, came {self.shards}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """The SageMaker endpoint that scores."""

    instance_type: str = "ml.g5.xlarge"
    """GPU by default. `ml.c7i.xlarge` (or any CPU type) serves the same image on the CPU."""
    gpu_ami: str = "al2023-ami-sagemaker-inference-gpu-4-1"
    """NVIDIA driver of a GPU type's host, by SageMaker's InferenceAmiVersion: this one has driver 580 for CUDA 13.
    Unset, the service takes one for CUDA 11.4 on ml.g5, which our torch
    cannot use. Empty: the service's choice."""
    min_instances: int = 2
    max_instances: int = 8
    """Equal to `min_instances`: no autoscaling."""
    invocations_per_instance_min: int = 6_000
    """Autoscaling holds the invocations a minute and instance here; one invocation scores up to 500 clicks."""
    scale_out_cooldown_s: int = 60
    scale_in_cooldown_s: int = 600
    startup_timeout_s: int = 600
    artifact: str = ""
    """`artifacts/<name>/model.tar.gz` in the release bucket. Empty: the first start, without a release."""
    image: str = ""
    """Image URI. Empty: build `training/container/Dockerfile` at deploy time (needs Docker then)."""

    def __post_init__(self) -> None:
        _named("endpoint.instance_type", self.instance_type, prefix="ml.")
        _within("endpoint.min_instances", self.min_instances, 1, 1_000)
        _within("endpoint.max_instances", self.max_instances, self.min_instances, 1_000)
        _within("endpoint.invocations_per_instance_min", self.invocations_per_instance_min, 1, 10_000_000)
        _within("endpoint.startup_timeout_s", self.startup_timeout_s, 60, 3_600)
        if self.artifact and not (self.artifact.startswith("artifacts/") and self.artifact.endswith(".tar.gz")):
            raise ValueError(
                f"endpoint.artifact must read artifacts/<name>/model.tar.gz, came {self.artifact!r}; "
                "`slidr deploy` prints the name it wrote"
            )

    @property
    def has_nvidia_gpu(self) -> bool:
        """Whether the instance type has an NVIDIA GPU.

        >>> EndpointSettings().has_nvidia_gpu, EndpointSettings(instance_type="ml.c7g.xlarge").has_nvidia_gpu
        (True, False)
        """
        return re.match(r"ml\.[gp]\d", self.instance_type) is not None

    @property
    def autoscaled(self) -> bool:
        """Whether the endpoint may change its instance count."""
        return self.max_instances > self.min_instances


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSettings:
    """The Lambda functions and the click stream's event source mapping."""

    architecture: Architecture = "arm64"
    python: str = "3.13"
    score_memory_mb: int = 1_769
    """1,769 MB is where Lambda gives one whole vCPU."""
    score_timeout_s: int = 180
    """Longer than all waits of a batch when every service falls silent (`longest_batch_s` of the function)."""
    score_concurrency: int = 100
    """Reserved; at least shards x parallelisation. It also caps the connections to the cache."""
    archive_memory_mb: int = 1_024
    archive_timeout_s: int = 120
    archive_concurrency: int = 50
    batch_size: int = 500
    batching_window_s: int = 0
    """Wait so long for a batch to fill. None: the service looks at each shard once a second, which gathers enough."""
    parallelisation: int = 2
    """Batches of one shard at the same time. Counters do not depend on order (rule 1), so any number is right."""
    retry_attempts: int = 20
    max_record_age_s: int = 21_600
    """A record that fails longer than this goes, with its payload, to the quarantine bucket."""
    from_start: bool = True
    """Read the click stream from its oldest record at the first deploy (TRIM_HORIZON)."""

    def __post_init__(self) -> None:
        _within("functions.score_memory_mb", self.score_memory_mb, 128, 10_240)
        _within("functions.archive_memory_mb", self.archive_memory_mb, 128, 10_240)
        _within("functions.score_timeout_s", self.score_timeout_s, 1, 900)
        _within("functions.archive_timeout_s", self.archive_timeout_s, 1, 300)
        _within("functions.score_concurrency", self.score_concurrency, 1, 100_000)
        _within("functions.archive_concurrency", self.archive_concurrency, 3, 100_000)
        _within("functions.batch_size", self.batch_size, 1, 10_000)
        _within("functions.batching_window_s", self.batching_window_s, 0, 300)
        _within("functions.parallelisation", self.parallelisation, 1, 10)
        _within("functions.retry_attempts", self.retry_attempts, 0, 10_000)
        _within("functions.max_record_age_s", self.max_record_age_s, 60, 604_800)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """The daily loop: when it runs, on what, and what it asks of a release."""

    schedule: str = "cron(30 2 * * ? *)"
    """EventBridge Scheduler's expression, UTC. The run takes the newest day whose clicks have matured."""
    enabled: bool = True
    """Whether the schedule starts runs; `slidr train-day` does in any case."""
    instance_type: str = "ml.c7i.2xlarge"
    """Of training and processing jobs."""
    volume_gb: int = 100
    job_timeout_s: int = 10_800
    training_days: int = 10
    """Days before the judged one that a release is made from."""
    profile_days: int = 28
    """How far profiles look back."""
    fpr_budget: float = 0.01
    """False positives that a release may cost, among purchasing clicks."""
    seed: int = 7
    shadow_s: int = 3_600
    """How long a challenger scores in shadow before it may be promoted."""
    canary_share: float = 0.0
    """Share of the sessions that it decides after that; 0: none, it is promoted at once."""
    canary_s: int = 3_600
    least_invocations: int = 1_000
    """Of the endpoint while the challenger is in shadow, to judge its latency; 0: no traffic is required."""
    bake_s: int = 300
    """How long an updated endpoint keeps the old fleet, to go back to it where an alarm asks for that."""
    poll_s: int = 15
    retry_s: int = 30

    def __post_init__(self) -> None:
        _named("training.instance_type", self.instance_type, prefix="ml.")
        if re.fullmatch(r"(cron|rate|at)\(.+\)", self.schedule) is None:
            raise ValueError(f"training.schedule must read cron(...), rate(...) or at(...), came {self.schedule!r}")
        _within("training.volume_gb", self.volume_gb, 10, 16_384)
        _within("training.job_timeout_s", self.job_timeout_s, 60, 432_000)
        _within("training.training_days", self.training_days, 3, 90)
        _within("training.profile_days", self.profile_days, 1, 90)
        _within("training.shadow_s", self.shadow_s, 1, 86_400)
        _within("training.canary_s", self.canary_s, 1, 86_400)
        _within("training.least_invocations", self.least_invocations, 0, 10_000_000)
        _within("training.bake_s", self.bake_s, 0, 3_600)
        _within("training.poll_s", self.poll_s, 1, 300)
        _within("training.retry_s", self.retry_s, 1, 600)
        for key, value, most in (("fpr_budget", self.fpr_budget, 0.5), ("canary_share", self.canary_share, 1.0)):
            if not 0 <= value <= most:
                raise ValueError(f"training.{key} must be from 0 to {most:g}, came {value}")

    @property
    def timeout_s(self) -> int:
        """Of a whole run: its jobs, tried twice, its endpoint, its waiting, and an hour."""
        return 2 * 3 * (self.job_timeout_s + 900) + 7_200 + self.shadow_s + self.canary_s + 3_600


def _default_slices() -> tuple[str, ...]:
    return tuple(f"device={device.value}|logged_in={known}" for device in Device for known in ("true", "false"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsSettings:
    """When an alarm goes off. Bounds come from simulated weeks: `make bench BENCH=clean_week`, docs/operations.md."""

    slices: tuple[str, ...] = field(default_factory=_default_slices)
    """Slices with an alarm of their own, as releases name them; at most 40."""
    period_s: int = 60
    datapoints: int = 2
    periods: int = 3
    """An alarm goes off when `datapoints` of the last `periods` breach its bound."""
    least_clicks: int = 200
    """Decided clicks that a period needs, for anything to be said about verdicts."""
    least_slice_clicks: int = 500
    """The same of a slice: few robots make the most of a small one."""
    deviation: float = 4.5
    """Standard errors from what the release expects, overall."""
    deviation_of_slice: float = 8.0
    dispersion: float = 20.0
    """How much more the number of INVALID clicks varies than were clicks independent: robots come in bursts."""
    least_rate: float = 0.002
    """IVR whose variance is added to what is expected: a slice in which none was INVALID may see some robots."""
    relative_error: float = 0.1
    """Of what a release expects."""
    too_few: float = 0.2
    """INVALID clicks, as a share of those expected: at or below it hardly anything is invalidated any more."""
    too_few_of_slice: float = 0.12
    least_expected: int = 50
    """Expected INVALID clicks that a period needs for that."""
    slow_period_s: int = 900
    """Of a second alarm on all traffic, for releases that are off by less than minutes can tell."""
    slow_too_few: float = 0.42
    unusable_share: float = 0.05
    """Clicks that are UNDECIDED because the release cannot be used."""
    undecided_share: float = 0.05
    """Clicks that are UNDECIDED for any other reason: the infrastructure's."""
    iterator_age_ms: int = 60_000
    """How far score_clicks may be behind the stream."""
    latency_ms: int = 10_000
    """p99 from arrival to verdict."""
    reject_share: float = 0.05
    fpr_bound: float = 0.03
    """False positives of matured clicks; out of it promotion stops."""
    least_purchasing: int = 300
    """Purchasing clicks of an hour that the bound needs."""
    undecided_schedule: str = "rate(1 hour)"
    """How often UNDECIDED clicks are replayed, an expression of EventBridge Scheduler."""
    hours_schedule: str = "cron(15 * * * ? *)"
    """When hours that have matured, or become final, are looked at."""
    schedules_enabled: bool = True
    settled_after_s: int = 1_800
    """How long after its end an hour's deliveries are in the lake; longer than lake.buffer_s."""
    final_after_h: int = 48
    """How long after its end an hour becomes final for billing."""

    def __post_init__(self) -> None:
        _within("operations.period_s", self.period_s, 60, 3_600)
        _within("operations.slow_period_s", self.slow_period_s, self.period_s, 86_400)
        _within("operations.periods", self.periods, 1, 60)
        _within("operations.datapoints", self.datapoints, 1, self.periods)
        for name, period_s in (("period_s", self.period_s), ("slow_period_s", self.slow_period_s)):
            _can_be_watched(f"operations.{name}", period_s, self.periods)
        _within("operations.least_clicks", self.least_clicks, 1, 1_000_000)
        _within("operations.least_slice_clicks", self.least_slice_clicks, 1, 1_000_000)
        _within("operations.least_expected", self.least_expected, 1, 1_000_000)
        _within("operations.iterator_age_ms", self.iterator_age_ms, 1_000, 86_400_000)
        _within("operations.latency_ms", self.latency_ms, 1, 86_400_000)
        _within("operations.least_purchasing", self.least_purchasing, 1, 1_000_000)
        for name in ("undecided_schedule", "hours_schedule"):
            if re.fullmatch(r"(cron|rate)\(.+\)", getattr(self, name)) is None:
                raise ValueError(f"operations.{name} must read cron(...) or rate(...), came {getattr(self, name)!r}")
        _within("operations.settled_after_s", self.settled_after_s, 0, 86_400)
        _within("operations.final_after_h", self.final_after_h, 1, 720)
        _within("operations.slices", len(self.slices), 0, 40)
        for name in ("deviation", "deviation_of_slice", "dispersion", "least_rate", "relative_error"):
            if getattr(self, name) <= 0:
                raise ValueError(f"operations.{name} must be above 0, came {getattr(self, name)}")
        for name in (
            "too_few",
            "too_few_of_slice",
            "slow_too_few",
            "unusable_share",
            "undecided_share",
            "reject_share",
            "fpr_bound",
        ):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"operations.{name} must be above 0 and at most 1, came {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One deployment of SLIDR."""

    name: str
    region: str = "us-east-1"
    account: str = ""
    """Empty: the account of the credentials at deploy time; none is needed to synthesise."""
    zones: int = 2
    network_cidr: str = "10.42.0.0/16"
    """Address range of the network; it meets no other unless you peer it."""
    keep_data: bool = True
    """Retain streams, buckets, tables and keys when the stack is deleted, and protect them from deletion."""
    log_days: int = 90
    tracing: bool = True
    alarm_email: str = ""
    streams: StreamSettings = field(default_factory=StreamSettings)
    lake: LakeSettings = field(default_factory=LakeSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    functions: FunctionSettings = field(default_factory=FunctionSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    operations: OperationsSettings = field(default_factory=OperationsSettings)

    def __post_init__(self) -> None:
        if re.fullmatch(_STAGE_NAME, self.name) is None:
            raise ValueError(
                f"a stage's name must be up to 24 small letters, digits and single hyphens, came {self.name!r}: it is "
                "part of names that SageMaker and Firehose limit"
            )
        if self.account and not (self.account.isdigit() and len(self.account) == 12):
            raise ValueError(f"account must be 12 digits, came {self.account!r}")
        _within("zones", self.zones, 1, 6)
        try:
            prefix_length = ipaddress.ip_network(self.network_cidr).prefixlen
        except ValueError as failure:
            raise ValueError(f"network_cidr must be like 10.42.0.0/16, came {self.network_cidr!r}") from failure
        _within("network_cidr's prefix length", prefix_length, 16, 22)
        if self.log_days not in _LOG_DAYS:
            raise ValueError(f"log_days must be one of {sorted(_LOG_DAYS)}, came {self.log_days}")
        if self.alarm_email and "@" not in self.alarm_email:
            raise ValueError(f"alarm_email must be an e-mail address, came {self.alarm_email!r}")
        if not self.is_local and not (self.cache.tls and self.cache.auth):
            raise ValueError("cache.tls and cache.auth must be true on AWS; only the local stage runs without")
        if self.cache.replicas and self.zones < 2:
            raise ValueError("cache.replicas over 0 requires zones of at least 2: failover crosses zones")
        wanted = self.streams.shards * self.functions.parallelisation
        if wanted > self.functions.score_concurrency:
            raise ValueError(
                f"functions.score_concurrency must be at least shards x parallelisation = {wanted}, "
                f"came {self.functions.score_concurrency}; raise it, or the event source is throttled"
            )

    @property
    def is_local(self) -> bool:
        """Whether this stage runs in the local cloud on one machine."""
        return self.name == "local"


_STAGE_NAME: Final = r"(?=.{1,24}$)[a-z](-?[a-z0-9])*"
_LOG_DAYS: Final = frozenset({1, 7, 14, 30, 90, 180, 365, 731})


def stage_names() -> tuple[str, ...]:
    """The stages that have a file."""
    return tuple(sorted(path.stem for path in STAGE_DIRECTORY.glob("*.toml")))


def load_stage(name: str, overrides: Mapping[str, object] | None = None) -> Stage:
    """The settings of one stage.

    Args:
        name: a file in `infra/stages/`.
        overrides: dotted key to value, as `-c cache.node_type=cache.m7g.large` gives them; strings are converted.

    Raises:
        StageInvalid: no such stage, an unknown key, or a value out of its range.

    >>> load_stage("prod", {"endpoint.min_instances": "3"}).endpoint.min_instances
    3
    """
    path = STAGE_DIRECTORY / f"{name}.toml"
    if name not in stage_names():
        raise StageInvalid(f"stage must be one of {', '.join(stage_names())}, came {name!r}; pass -c stage=<name>")
    values: dict[str, Any] = {"name": name}
    if name == "local":
        architecture, python = machine_runtime()
        values["functions"] = {"architecture": architecture, "python": python}
    _merge(values, tomllib.loads(path.read_text("utf-8")))
    for key, value in (overrides or {}).items():
        *groups, last = key.split(".")
        nested: dict[str, Any] = {last: value}
        for group in reversed(groups):
            nested = {group: nested}
        _merge(values, nested)
    _refuse_unknown(values, Stage, prefix="")
    try:
        return msgspec.convert(values, Stage, strict=False)
    except msgspec.ValidationError as failure:
        raise StageInvalid(f"stage {name}: {failure}; see infra/settings.py for every key and its range") from failure


def machine_runtime() -> tuple[Architecture, str]:
    """The architecture and Python version of this machine: what the local cloud's functions run on."""
    machine = platform.machine().lower()
    architecture: Architecture = "arm64" if machine in {"arm64", "aarch64"} else "x86_64"
    return architecture, f"{sys.version_info.major}.{sys.version_info.minor}"


def _merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(values.get(key, {}), dict):
            _merge(values.setdefault(key, {}), value)
        else:
            values[key] = value


def _refuse_unknown(values: Mapping[str, Any], kind: Any, *, prefix: str) -> None:
    known = {item.name for item in fields(kind)}
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in known:
            raise StageInvalid(f"unknown setting {prefix}{key!r}; known here: {', '.join(sorted(known))}")
        if is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                raise StageInvalid(f"{prefix}{key} is a group; set one of its keys, as {prefix}{key}.<key>=<value>")
            _refuse_unknown(value, hints[key], prefix=f"{prefix}{key}.")


def _can_be_watched(name: str, period_s: int, periods: int) -> None:
    """Metrics come by the minute, and an alarm looks back a day at most, seven days where periods last an hour."""
    longest_s = 86_400 if period_s < 3_600 else 7 * 86_400
    if period_s % 60:
        raise ValueError(f"{name} must be whole minutes, came {period_s} s")
    if period_s * periods > longest_s:
        raise ValueError(f"{periods} periods of {name} must last {longest_s} s at most, came {period_s} s each")


def _within(key: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{key} must be from {least} to {most}, came {value}")


def _named(key: str, value: str, *, prefix: str) -> None:
    if not value.startswith(prefix):
        raise ValueError(f"{key} must start with {prefix!r}, came {value!r}")
