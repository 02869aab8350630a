"""What a person calls a stream."""

from __future__ import annotations

import re
from typing import Final

_GENERATED: Final = re.compile(r"slidr-.+-data-([a-z]+?)[0-9a-f]{8}-\w+", re.IGNORECASE)


def stream_title(arn: str) -> str:
    """A stream's name without what CloudFormation put around it; any other stream's whole name.

    >>> stream_title("arn:aws:kinesis:us-east-1:000000000000:stream/slidr-dev-data-Clicks81B5095A-AbCdEf0123")
    'clicks'
    >>> stream_title("arn:aws:kinesis:us-east-1:000000000000:stream/orders")
    'orders'
    """
    name = arn.rpartition("/")[2]
    found = _GENERATED.fullmatch(name)
    return found[1].lower() if found else name
