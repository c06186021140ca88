"""The log lines about decisions: one for each key, and one for each failure of other work."""

from __future__ import annotations

import logging

from ..core.errors import Permanent, StoreUnusable, SyncError

logger = logging.getLogger(__name__)

_LEVELS = {"dead-letter": logging.ERROR, "retry": logging.WARNING, "excluded": logging.DEBUG}


def log_failure(key: str, error: SyncError, *, name: str = "", **fields: object) -> None:
    """Log a failure. Equal failures have the same `reason`: the request ID is another field.

    `unusable` is a field only if a store fails as a whole.
    """
    if isinstance(error, StoreUnusable):
        fields["unusable"] = True
    action = "dead-letter" if isinstance(error, Permanent) else "retry"
    reason = f"{name}: {error.reason}" if name else error.reason
    log_decision(action, key, **{**fields, **error.log_fields, "reason": reason})


def log_decision(action: str, key: str, reason: object, **fields: object) -> None:
    """Log a decision, with a level that follows from the action."""
    level = _LEVELS.get(action, logging.INFO)
    logger.log(level, "%s", action, extra={"action": action, "key": key, "reason": reason, **fields})


def log_excluded(keys: int) -> None:
    """Log the number of keys of a batch that the filters exclude. Most events may be about such keys."""
    if keys:
        logger.info("excluded", extra={"action": "excluded", "keys": keys})
