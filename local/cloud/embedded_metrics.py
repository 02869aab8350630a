"""CloudWatch's embedded metric format: metrics that a function prints as JSON lines, as the service extracts them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EmittedMetric:
    """One value of one metric, under one of its dimension sets."""

    namespace: str
    name: str
    unit: str
    value: float
    dimensions: dict[str, str]


def metrics_in(lines: Iterable[str]) -> Iterator[EmittedMetric]:
    """Yield every metric that the log `lines` embed; other lines and malformed documents are passed over.

    Source: CloudWatch embedded metric format specification.

    >>> line = '{"_aws": {"Timestamp": 0, "CloudWatchMetrics": [{"Namespace": "slidr", "Dimensions": [["stage"]], '
    >>> line += '"Metrics": [{"Name": "clicks", "Unit": "Count"}]}]}, "stage": "local", "clicks": [2, 3]}'
    >>> [(metric.name, metric.value, metric.dimensions) for metric in metrics_in(["hello", line])]
    [('clicks', 2.0, {'stage': 'local'}), ('clicks', 3.0, {'stage': 'local'})]
    """
    for line in lines:
        if '"CloudWatchMetrics"' not in line:
            continue
        try:
            document = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(document, dict):
            yield from _metrics_of(document)


def _metrics_of(document: dict[str, Any]) -> Iterator[EmittedMetric]:
    for directive in (document.get("_aws") or {}).get("CloudWatchMetrics") or []:
        for metric in directive.get("Metrics") or []:
            values = document.get(metric["Name"])
            for value in values if isinstance(values, list) else [values]:
                if not isinstance(value, int | float):
                    continue
                for keys in directive.get("Dimensions") or [[]]:
                    dimensions = {key: str(document[key]) for key in keys if key in document}
                    yield EmittedMetric(
                        directive["Namespace"], metric["Name"], metric.get("Unit", "None"), float(value), dimensions
                    )
