"""The prefixes of Firehose's S3 objects: `!{namespace:value}` expressions over arrival time and partition keys.

Source: Data Firehose developer guide, "Understand custom prefixes for Amazon S3 objects".
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import datetime

from slidr.errors import SlidrError

_EXPRESSION = re.compile(r"!\{([A-Za-z]+):([^}]*)\}")
_JAVA_FIELD = re.compile(r"'([^']*)'|(y+|M+|d+|H+|m+|s+)")
_DEFAULT_TIME = "yyyy/MM/dd/HH/"


class PrefixInvalid(SlidrError):
    """A prefix asks for something that the record or the service does not give."""


def format_java_time(pattern: str, moment: datetime) -> str:
    """Format by a Java DateTimeFormatter pattern (the fields y M d H m s, and quoted text).

    >>> format_java_time("yyyy/MM/dd/'hour='HH", datetime(2026, 3, 4, 5))
    '2026/03/04/hour=05'
    """
    fields = {
        "y": moment.year,
        "M": moment.month,
        "d": moment.day,
        "H": moment.hour,
        "m": moment.minute,
        "s": moment.second,
    }

    def field(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1]
        letters = match[2]
        value = fields[letters[0]]
        if letters == "yy":
            value %= 100
        return str(value).zfill(len(letters))

    return _JAVA_FIELD.sub(field, pattern)


def evaluate_prefix(
    template: str, moment: datetime, *, partition_keys: Mapping[str, str] | None = None, error_type: str | None = None
) -> str:
    """Return the prefix of an object that arrived at `moment` (UTC).

    Without a timestamp expression the service appends YYYY/MM/dd/HH/, except under dynamic partitioning.

    >>> noon = datetime(2026, 3, 4, 12)
    >>> evaluate_prefix("clicks/date=!{partitionKeyFromLambda:date}/", noon, partition_keys={"date": "x"})
    'clicks/date=x/'
    >>> evaluate_prefix("raw/", datetime(2026, 3, 4, 5))
    'raw/2026/03/04/05/'

    Raises:
        PrefixInvalid: an expression has no value.
    """
    timed = False

    def expression(match: re.Match[str]) -> str:
        nonlocal timed
        namespace, value = match[1], match[2]
        if namespace == "timestamp":
            timed = True
            return format_java_time(value, moment)
        if namespace == "firehose" and value == "random-string":
            return uuid.uuid4().hex[:11]
        if namespace == "firehose" and value == "error-output-type" and error_type is not None:
            return error_type
        if namespace == "partitionKeyFromLambda" and value in (partition_keys or {}):
            return (partition_keys or {})[value]
        raise PrefixInvalid(f"the S3 prefix {template!r} needs {match[0]}, which this record does not have")

    evaluated = _EXPRESSION.sub(expression, template)
    return evaluated if timed or partition_keys else evaluated + format_java_time(_DEFAULT_TIME, moment)
