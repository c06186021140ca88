"""One JSON line per log record on standard output: the same in Lambda, in a container and on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

#: What every LogRecord carries anyway; all else in it came from `extra=` and belongs in the line.
_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

#: What botocore logs at DEBUG holds the answers of Secrets Manager, word for word.
_INDISCREET = ("boto3", "botocore", "urllib3")


class JsonFormatter(logging.Formatter):
    """`extra=` fields become fields of the line. Timestamps are RFC 3339, which Lambda's own log filter needs."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _ORDINARY},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_json(level: str | int) -> None:
    """Sends this project's log records, `level` and above, to standard output as JSON.

    Lambda's runtime sends there what all others log, from the level on that the function is configured with: the
    libraries below this project are kept from logging secrets, whatever that is.
    """
    for library in _INDISCREET:
        logging.getLogger(library).setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(__package__)
    logger.handlers[:] = [handler]  # called again in a reused process, it must not log everything twice
    logger.setLevel(level)
    logger.propagate = False
