"""Log lines as one JSON object each, as CloudWatch Logs Insights reads them."""

from __future__ import annotations

import datetime as dt
import json
import logging
from typing import TextIO


class JsonFormatter(logging.Formatter):
    """`{"timestamp", "level", "logger", "message", ...}`; `extra={"fields": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, object] = {
            "timestamp": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json(stream: TextIO, level: int = logging.INFO) -> None:
    """Send every logger's lines to `stream` as JSON."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # uvicorn tells of its own start and stop at INFO; ours say it with fields
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
