"""Make all checks in their order, and return the report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from ..core.deadline import Deadline, OutOfTime
from ..core.errors import SyncError
from ..core.fence import Fence, fenced
from ..settings import RequestOptions, Settings
from ..stores.protocols import ClientSource
from .calls import Page, list_page
from .connection import check_answer, check_name
from .keys import check_keys
from .messages import EVENT_BUS, MessageChecks, check_event_bus
from .messages import GROUP as MESSAGES
from .report import Check, Report, Status
from .scratch import ForeignKeysError, Scratch, scratch_keys
from .source import GROUP as SOURCE
from .source import SourceChecks
from .target import (
    ABILITIES,
    BODY,
    PERMISSIONS,
    check_conditions,
    check_etags,
    check_permissions,
    check_properties,
    check_protection,
    check_tags,
    check_uploads,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

logger = logging.getLogger(__name__)

TARGET = "Target connection"


class Doctor:
    """The checks of a source, a target and a queue.

    `connect` returns the clients of the target for these options of its requests. `sqs` is None without a queue, and
    `events`, the client for EventBridge, without an event bus.
    """

    def __init__(
        self,
        settings: Settings,
        source: ClientSource,
        connect: Callable[[RequestOptions], ClientSource],
        sqs: SQSClient | None,
        events: Any,
        *,
        prefix: str,
    ) -> None:
        self._settings, self._source, self._connect = settings, source, connect
        self._sqs, self._events = sqs, events
        self._prefix = settings.target_prefix + prefix

    def run(self, deadline: Deadline) -> Report:
        """Make the checks. After the deadline, no check begins, and the scratch keys are removed."""
        client = self._source.lease().client
        source = SourceChecks(client, self._settings)
        checks = _made(SOURCE, "source", source.run, deadline)
        is_complete = source.is_usable
        if self._sqs is not None:
            messages = MessageChecks(self._sqs, client, self._settings)
            checks += _made(MESSAGES, "queue", messages.run, deadline)
            is_complete &= messages.is_usable
        if self._events is not None:
            bus = self._settings.event_bus_arn
            checks += _made(EVENT_BUS, "event bus", lambda: check_event_bus(self._events, bus), deadline)
        is_complete &= self._check_target(checks, deadline)
        return Report(checks, is_complete)

    def _check_target(self, checks: list[Check], deadline: Deadline) -> bool:
        """Add the checks of the target, and return True if the target can be used."""
        checks.append(check_name(TARGET, self._settings.target_endpoint))
        options = self._settings.target_requests
        try:
            client, page = self._listed(options)
        except SyncError as error:
            checks.append(Check(TARGET, "credentials", Status.PROBLEM, error.reason))
            return False
        if page.answer.status and not page.answer.is_ok:
            style: Literal["path", "virtual"] = "path" if options.addressing_style == "virtual" else "virtual"
            other = replace(options, addressing_style=style)
            other_client, other_page = self._listed(other)
            if other_page.answer.is_ok:
                finding = f"the store needs {style!r}: {page.answer.reason}"
                settings = {"target.addressing_style": style}
                checks.append(Check(TARGET, "addressing style", Status.PROBLEM, finding, settings=settings))
                options, client, page = other, other_client, other_page
        checks += check_answer(TARGET, self._settings.target_endpoint, page.answer, "s3:ListBucket")
        if not page.answer.is_ok:
            return False
        try:
            with scratch_keys(client, self._settings.target_bucket, self._prefix, checks) as scratch:
                checks += self._check_signing(scratch, options)
                for group, name, check in self._target_checks(scratch):
                    checks += _made(group, name, check, deadline)
        except ForeignKeysError as error:
            checks.append(Check(ABILITIES, "scratch keys", Status.PROBLEM, str(error)))
            return False
        return True

    def _listed(self, options: RequestOptions) -> tuple[S3Client, Page]:
        """Return a client with these options, and the first page of the scratch keys. Raises a SyncError."""
        client = self._connect(options).lease().client
        return client, list_page(client, self._settings.target_bucket, self._prefix, MaxKeys=1)

    def _check_signing(self, scratch: Scratch, options: RequestOptions) -> Iterator[Check]:
        """If the store refuses a body without a signed hash, make the further requests with one."""
        unsigned, client = scratch.put("body", BODY), scratch.client
        if unsigned.is_ok or options.payload_signing:
            return
        scratch.use(self._connect(replace(options, payload_signing=True)).lease().client)
        if scratch.put("body", BODY).is_ok:
            finding = f"the store needs the signed hash of each body: {unsigned.reason}"
            settings = {"target.payload_signing": True}
            yield Check(TARGET, "payload signing", Status.PROBLEM, finding, settings=settings)
        else:
            scratch.use(client)

    def _target_checks(self, scratch: Scratch) -> Iterator[tuple[str, str, Callable[[], Iterator[Check]]]]:
        tags = self._settings.tags
        yield PERMISSIONS, "permissions", lambda: check_permissions(scratch, tags=tags)
        yield ABILITIES, "tags", lambda: check_tags(scratch, tags=tags)
        yield ABILITIES, "ETag", lambda: check_etags(scratch)
        yield ABILITIES, "conditions", lambda: check_conditions(scratch)
        yield ABILITIES, "headers, metadata", lambda: check_properties(scratch)
        yield ABILITIES, "multipart", lambda: check_uploads(scratch)
        yield ABILITIES, "keys", lambda: check_keys(scratch)
        yield ABILITIES, "versioning", lambda: check_protection(scratch, object_lock=self._settings.object_lock)


def _made(group: str, name: str, check: Callable[[], Iterator[Check]], deadline: Deadline) -> list[Check]:
    """Return the results of a check. An unexpected failure is a result, too: the other checks go on."""
    made: list[Check] = []
    try:
        with fenced(Fence(expires=deadline)):
            for each in check():
                made.append(each)
    except OutOfTime:
        made.append(Check(group, name, Status.SKIPPED, "the time is over"))
    except Exception as error:  # a store can respond in a way that no check expects
        logger.exception("unexpected failure", extra={"check": name})
        made.append(Check(group, name, Status.PROBLEM, f"the response is not understood: {error!r}"))
    return made
