"""Write each log record to standard output as one line of JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from .core import log_context

#: The attributes that every LogRecord has. All other attributes come from `extra=` and become fields of the line.
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

#: Libraries that log secrets at DEBUG: botocore logs the responses of Secrets Manager word for word.
_LIBRARIES = ("boto3", "botocore", "urllib3")


class JsonFormatter(logging.Formatter):
    """Format a record as JSON, with the fields of the work (see `log_context`) and of `extra=`.

    Timestamps have the format of RFC 3339, because the log filter of Lambda requires it.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            **log_context.current(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # A key that is not UTF-8 has surrogates, which no stream can encode. This escapes them as JSON does.
        return json.dumps(line, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()


def log_json(level: str | int) -> None:
    """Write the records of this project, from `level` on, to standard output as JSON.

    Lambda's runtime writes the records of libraries there as well, from the log level of the function on. So the
    libraries that log secrets at DEBUG log nothing below INFO, whatever that level is.
    """
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(__package__)
    logger.handlers[:] = [handler]  # a second call in the same process must not log every record twice
    logger.setLevel(level)
    logger.propagate = False
