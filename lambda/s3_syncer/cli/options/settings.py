"""Options turned into settings, and the output of a command: its log, and the line for an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import click
from botocore.exceptions import InvalidRegionError
from botocore.utils import validate_region_name

from ...core.bandwidth_timetable import NO_LIMIT
from ...core.errors import SyncError
from ...core.filters import NO_FILTERS, BadFilter, Filters
from ...core.units import GIB, MIB
from ...logs import log_json
from ...settings import AwsChain, Settings, read_deletion_queues, read_stores, require_different_queues
from ...settings_reader import Reader, SettingsError
from ...stores.clients import aws_address
from ...versions import log_versions
from ..exit_codes import UNUSABLE
from ..output.stats import printable
from .store_credentials import source_credentials, target_credentials
from .store_locations import location_of


def option_of(variable: str) -> str:
    """Return the option that gives a variable its value, for messages."""
    return "--" + variable.lower().replace("_", "-")


def read_settings(
    options: dict[str, Any], *, delete: bool, queue: bool = False, label: Callable[[str], str] = option_of
) -> Settings:
    """Return the options as settings. Raises UsageError with all mistakes.

    An error names each variable by its `label`. The queue URLs are required if `queue` is true.
    """
    options = {**options, **_aws_target(options)}
    environment = {name.upper(): str(value) for name, value in options.items() if value not in (None, "")}
    reader = Reader(environment, label=label)
    stores = read_stores(reader)
    settings = replace(
        stores,
        source_connection=replace(stores.source_connection, credentials=source_credentials(options, reader)),
        target_credentials=target_credentials(options, reader),
        queue_url=reader.required("QUEUE_URL") if queue else reader.text("QUEUE_URL"),
        bulk_queue_url=reader.text("BULK_QUEUE_URL"),
        dead_letter_queue_url=(reader.required if queue else reader.text)("DEAD_LETTER_QUEUE_URL"),
        filters=read_filters(options) if "include" in options else NO_FILTERS,
        delete=delete,
        deletion_queues=read_deletion_queues(reader),
        tags=options["tags"],
        object_lock=options.get("object_lock", False),
        copy_memory=options.get("memory", 0) * MIB,
        bandwidth=options.get("bwlimit") or NO_LIMIT,
        event_bus_arn=reader.event_bus("EVENT_BUS_ARN"),
        distributed_copy_threshold=options.get("distributed_copy_threshold", GIB // MIB) * MIB,
    )
    require_different_queues(reader)
    for side in ("SOURCE", "TARGET"):
        check_region(reader, f"{side}_REGION")
    try:
        reader.done()
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    return settings


def check_region(reader: Reader, name: str) -> None:
    """Add a mistake if boto3 rejects the region. The Terraform module validates the region of its workers."""
    region = reader.text(name)
    try:
        validate_region_name(region)
    except InvalidRegionError:
        reader.mistake(f"{reader.label(name)} must be a region such as us-east-1, not {region!r}")


def _aws_target(options: dict[str, Any]) -> dict[str, str]:
    """Return the endpoint and the region of a target that a location places on AWS."""
    if location_of("target") is None or options["target_endpoint"]:
        return {}
    try:
        endpoint, region = aws_address(AwsChain(options["target_profile"] or ""), options["target_region"] or "")
    except SyncError as error:
        fail(error)
    if not region:
        raise click.UsageError("the region of the target is unknown: give --target-region, or set AWS_REGION")
    return {"target_endpoint": endpoint, "target_region": region}


def read_filters(options: dict[str, Any]) -> Filters:
    """Return the filters that the options name. Raises UsageError."""
    try:
        return Filters.of(*(options[name] for name in ("include", "exclude", "min_size", "max_size")))
    except BadFilter as error:
        raise click.UsageError(f"invalid filter: {error}") from error


def configure_log(log_format: str, *, verbose: bool) -> None:
    """Write the decisions to standard output as JSON, as text if `verbose` is true, or not at all."""
    if log_format == "json":
        log_json(logging.INFO)
        log_versions()
        return
    logger = logging.getLogger("s3_syncer")
    logger.handlers[:] = [logging.StreamHandler(sys.stdout) if verbose else logging.NullHandler()]
    logger.setLevel(logging.INFO if verbose else logging.CRITICAL + 1)  # without a reader, no record is formatted
    logger.propagate = False


def fail(error: Exception) -> NoReturn:
    """Print the error as one line, and exit."""
    click.echo(f"s3-syncer: {printable(str(error))}", err=True)
    sys.exit(UNUSABLE)
