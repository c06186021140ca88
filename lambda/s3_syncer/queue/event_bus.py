"""Send events to an EventBridge bus. No work fails or waits long because an event cannot be sent."""

from __future__ import annotations

import json
import logging
from typing import Any

from ..core.errors import SyncError
from ..settings import Settings
from ..stores.clients import event_client
from ..stores.request_errors import REQUEST_ERRORS
from .bus_events import VERSION, BusEvent

logger = logging.getLogger(__name__)

#: The source of all events, for the pattern of a rule.
SOURCE = "s3-syncer"


class EventBus:
    """The bus in the settings. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._arn = settings.event_bus_arn
        self._route = {
            "version": VERSION,
            "source_bucket": settings.source_bucket,
            "source_prefix": settings.source_prefix,
            "target_endpoint": settings.target_endpoint,
            "target_bucket": settings.target_bucket,
            "target_prefix": settings.target_prefix,
        }
        self._client: Any = None

    def send(self, event: BusEvent) -> None:
        """Send one event: one request, which botocore repeats once. Log a failure, and raise none."""
        entry = {
            "EventBusName": self._arn,
            "Source": SOURCE,
            "DetailType": event.detail_type,
            "Detail": json.dumps({**self._route, **event.detail}),
        }
        try:
            self._client = self._client or event_client(self._arn)
            response = self._client.put_events(Entries=[entry])
        except (*REQUEST_ERRORS, SyncError) as error:
            self._log(event, str(error))
            return
        if response["FailedEntryCount"]:
            failed = response["Entries"][0]
            self._log(event, f"{failed.get('ErrorCode')}: {failed.get('ErrorMessage')}")

    def _log(self, event: BusEvent, reason: str) -> None:
        extra = {"detail_type": event.detail_type, "bus": self._arn, "reason": reason}
        logger.warning("event not sent", extra=extra)
