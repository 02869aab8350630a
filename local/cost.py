"""What a stage costs on AWS: a small model of its own settings, list prices and assumptions that are all stated here.

    slidr cost --clicks-per-day 1e7

It counts what grows with clicks and what runs anyway; it leaves out data transfer to readers of the verdict stream,
support, taxes and discounts. Figures are for budgets, not for invoices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from infra.settings import Stage

PRICES_OF: Final = "us-east-1, list prices as known in November 2026; check them before you rely on them"
DAYS_A_MONTH: Final = 30.0
DOLLARS: Final = {
    # https://aws.amazon.com/kinesis/data-streams/pricing/ (on-demand)
    "kinesis stream hour": 0.04, "kinesis GB in": 0.08, "kinesis GB out": 0.04, "kinesis GB-month past a day": 0.10,
    # https://aws.amazon.com/lambda/pricing/ (arm64)
    "lambda GB-second": 0.0000133334, "lambda million requests": 0.20,
    # https://aws.amazon.com/dynamodb/pricing/on-demand/
    "dynamodb million reads": 0.125, "dynamodb million writes": 0.625,
    # https://aws.amazon.com/firehose/pricing/ (from Kinesis, Parquet)
    "firehose GB": 0.029, "firehose GB converted": 0.018,
    # https://aws.amazon.com/s3/pricing/
    "s3 GB-month": 0.023, "s3 thousand writes": 0.005,
    # https://aws.amazon.com/privatelink/pricing/, https://aws.amazon.com/cloudwatch/pricing/, kms, sqs
    "interface endpoint hour": 0.01, "log GB": 0.50, "metric-month": 0.30, "key-month": 1.0,
    "alarm metric-month": 0.10, "composite alarm-month": 0.50, "dashboard-month": 3.0,
}  # fmt: skip
CACHE_NODE_HOUR: Final = {"cache.r7g.large": 0.1752, "cache.m7g.large": 0.1264, "cache.t4g.small": 0.0256}
"""https://aws.amazon.com/elasticache/pricing/, Valkey."""
INSTANCE_HOUR: Final = {
    "ml.g5.xlarge": 1.408, "ml.c7i.large": 0.107, "ml.c7i.xlarge": 0.214, "ml.c7i.2xlarge": 0.428,
}  # fmt: skip
"""https://aws.amazon.com/sagemaker/ai/pricing/, hosting, training and processing alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What the model takes for granted; measured on this project where it says so."""

    click_kb: float = 0.6
    verdict_kb: float = 1.7
    """With the feature vector."""
    purchases_a_click: float = 0.05
    lake_kb_a_click: float = 0.22
    """Parquet of clicks, verdicts and purchases: measured, 204 MB a million (docs/benchmarks.md)."""
    batch: float = 100.0
    """Clicks an invocation decides: fewer where few come."""
    batch_ms: float = 40.0
    """Of an invocation, and a click's own time: `handler` decides 500 in 97 ms here."""
    click_ms: float = 0.2
    profile_reads: float = 3.0
    """Keys of a click, and the share of them that the function has not in memory."""
    profile_misses: float = 0.4
    log_kb_a_batch: float = 1.0
    role_kb: float = 0.7
    """What a batch tells of one role and slice; a batch has clicks of half of the slices, of one role."""
    metrics: float = 60.0
    """Of no role."""
    role_metrics: float = 9.0
    """Of each of three roles, overall and by slice."""
    alarm_metrics: float = 6.0
    """That the alarms of a role and slice look at, two roles of them."""
    hourly_job_s: float = 240.0
    """Of the job over matured hours, starting included; that of UNDECIDED clicks runs only where there are any."""
    clicks_a_second_an_instance: float = 20_000.0
    """That an endpoint's instance scores; below, the stage's least number of instances serves."""
    clicks_a_second_a_shard: float = 5_000.0
    """That a cache shard counts: `counter_state` on one core."""
    keys: float = 3.0
    interface_endpoints: float = 5.0
    """Kinesis, SageMaker, Secrets Manager, SQS, X-Ray (infra/constructs/private_network.py)."""
    job_seconds: float = 600.0
    """Of the day's jobs whatever they do, starting included."""
    job_seconds_a_million: float = 60.0
    """Of a million clicks of one day that they read, in all jobs (`loop`: 91 s for ten days of a million)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A part of the bill."""

    part: str
    dollars_a_day: float
    because: str


def daily_costs(stage: Stage, clicks_a_day: float, assumed: Assumptions | None = None) -> list[Line]:
    """What each part of a stage costs a day, in US dollars.

    Args:
        stage: its settings.
        clicks_a_day: evenly over the day; a peak costs more instances, which autoscaling adds and takes away.
        assumed: see Assumptions.
    """
    a, price = assumed or Assumptions(), DOLLARS
    million = clicks_a_day / 1e6
    in_gb = clicks_a_day * (a.click_kb + a.verdict_kb + a.purchases_a_click * a.click_kb) / 1e6
    click_gb = clicks_a_day * a.click_kb / 1e6
    kept_days = max(stage.streams.retention_h / 24 - 1, 0)
    batches = clicks_a_day / min(a.batch, stage.functions.batch_size)
    gb = stage.functions.score_memory_mb / 1024
    shards = max(stage.cache.shards, -(-clicks_a_day / 86_400 // a.clicks_a_second_a_shard))
    nodes = shards * (1 + stage.cache.replicas)
    instances = max(stage.endpoint.min_instances, -(-clicks_a_day / 86_400 // a.clicks_a_second_an_instance))
    jobs_s = a.job_seconds + a.job_seconds_a_million * million * (stage.training.training_days + 2) / 10
    slices = len(stage.operations.slices)
    metrics = a.metrics + 3 * (1 + slices) * a.role_metrics
    alarms_a_month = (
        2 * (1 + slices) * a.alarm_metrics * price["alarm metric-month"] + 3 * price["composite alarm-month"]
    )
    log_kb = a.log_kb_a_batch + slices / 2 * a.role_kb
    stored_gb = clicks_a_day * a.lake_kb_a_click / 1e6 * stage.lake.lake_days
    return [
        Line(part="endpoint", dollars_a_day=24 * instances * INSTANCE_HOUR[stage.endpoint.instance_type],
             because=f"{instances:.0f} {stage.endpoint.instance_type}"),
        Line(part="counter cache", dollars_a_day=24 * nodes * CACHE_NODE_HOUR[stage.cache.node_type],
             because=f"{nodes:.0f} {stage.cache.node_type}"),
        Line(part="streams", dollars_a_day=72 * price["kinesis stream hour"] + in_gb * price["kinesis GB in"]
             + (in_gb + click_gb) * price["kinesis GB out"]
             + in_gb * kept_days / DAYS_A_MONTH * price["kinesis GB-month past a day"],
             because=f"3 streams, {in_gb:,.1f} GB in, kept {stage.streams.retention_h} h"),
        Line(part="functions", dollars_a_day=batches * (a.batch_ms + a.click_ms * a.batch) / 1000 * gb
             * price["lambda GB-second"] + batches / 1e6 * price["lambda million requests"],
             because=f"{batches:,.0f} batches"),
        Line(part="profiles", dollars_a_day=million * a.profile_reads * a.profile_misses * 0.5
             * price["dynamodb million reads"] + 0.2 * million * price["dynamodb million writes"],
             because="reads that miss the function's memory; a key in five clicks written a day"),
        Line(part="deliveries", dollars_a_day=in_gb * (price["firehose GB"] + price["firehose GB converted"])
             + 2 * batches / 1e6 * price["lambda million requests"], because="Firehose to Parquet, its transforms"),
        Line(part="lake", dollars_a_day=stored_gb / DAYS_A_MONTH * price["s3 GB-month"]
             + 3 * 288 / 1000 * price["s3 thousand writes"],
             because=f"{stored_gb:,.0f} GB after {stage.lake.lake_days} days"),
        Line(part="daily loop", dollars_a_day=jobs_s / 3600 * INSTANCE_HOUR[stage.training.instance_type],
             because=f"{jobs_s / 60:,.0f} min of {stage.training.instance_type}"),
        Line(part="network", dollars_a_day=24 * a.interface_endpoints * stage.zones * price["interface endpoint hour"],
             because=f"{a.interface_endpoints:.0f} interface endpoints in {stage.zones} zones"),
        Line(part="hourly jobs", dollars_a_day=24 * a.hourly_job_s / 3600 * INSTANCE_HOUR[stage.training.instance_type],
             because=f"24 of {a.hourly_job_s / 60:.0f} min"),
        Line(part="logs, metrics, keys", dollars_a_day=batches * log_kb / 1e6 * price["log GB"]
             + (metrics * price["metric-month"] + a.keys * price["key-month"]) / DAYS_A_MONTH,
             because=f"{metrics:.0f} metrics, {a.keys:.0f} keys"),
        Line(part="alarms, dashboard", dollars_a_day=(alarms_a_month + price["dashboard-month"]) / DAYS_A_MONTH,
             because=f"alarms of two roles and {slices} slices"),
    ]  # fmt: skip


def total(lines: Sequence[Line]) -> float:
    """Dollars a day."""
    return sum(line.dollars_a_day for line in lines)
