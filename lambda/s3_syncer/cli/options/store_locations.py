"""The two stores as SOURCE and TARGET of a command line: s3://BUCKET/PREFIX, or NAME:BUCKET/PREFIX.

A location describes its store completely. So it replaces the environment variables about the identity of this store:
its endpoint, region, bucket, prefix, owner and credentials. Options of the command line win over it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from ..click_extensions import STATED, Unusable, option
from .store_config import ConfigError, ConfigFile, NamedStore, UnknownStore

Side = Literal["source", "target"]

_META = f"{__name__}.locations"

_FORMS = "write s3://BUCKET/PREFIX for AWS S3, or NAME:BUCKET/PREFIX for a store of `s3-syncer config list`"


@dataclass(frozen=True, slots=True)
class Location:
    """A store, a bucket and a prefix."""

    store: NamedStore
    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str, config: ConfigFile) -> Location:
        """Return the location. Raises ValueError for a mistake in the text, and ConfigError.

        A prefix names a folder, as in rclone: `photos` and `photos/` are the same.
        """
        if "://" in text:
            scheme, _, path = text.partition("://")
            if scheme != "s3":
                raise ValueError(f"{text!r} is not a location: {_FORMS}")
            store = NamedStore()
        else:
            name, _, path = text.partition(":")
            if not re.fullmatch("[^/:]+", name):
                raise ValueError(f"{text!r} is not a location: {_FORMS}")
            store = config.stores_with(name)[name]
        bucket, _, folder = path.partition("/")
        if not bucket and (folder or not store.bucket):
            raise ValueError(f"{text!r} has no bucket: {_FORMS}")
        return cls(store, bucket or store.bucket, folder if not folder or folder.endswith("/") else f"{folder}/")

    def variables(self, side: Side) -> dict[str, str]:
        """Return the variables about the identity of the store. "" is a variable without a value."""
        store, name = self.store, side.upper()
        common = {
            f"{name}_ENDPOINT": store.endpoint,
            f"{name}_REGION": store.region or ("us-east-1" if store.endpoint else ""),
            f"{name}_BUCKET": self.bucket,
            f"{name}_PREFIX": self.prefix,
            f"{name}_PROFILE": store.profile,
            f"{name}_ADDRESSING_STYLE": store.addressing_style,
            f"{name}_CA_CERTIFICATE": _certificates(store.ca_certificate),
        }
        if side == "source":
            return {**common, "SOURCE_ROLE_ARN": "", "SOURCE_EXPECTED_BUCKET_OWNER": ""}
        signing = "true" if store.payload_signing else ""
        return {**common, "ENDPOINT": "", "TARGET_SECRET_ARN": "", "TARGET_PAYLOAD_SIGNING": signing}


def _certificates(path: str) -> str:
    return str(Path(path).expanduser()) if path else ""


def location_of(side: Side) -> Location | None:
    """Return the location that the running command was given for a side, or None."""
    locations: Mapping[Side, Location] = click.get_current_context().meta.get(_META, {})
    return locations.get(side)


def _keep(side: Side, ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """Keep the location for the options, which are read afterwards."""
    if value is None:
        return
    locations = ctx.meta.setdefault(_META, {})
    if side in locations:
        raise click.UsageError(f"two locations name the {side}: write {side.upper()} or --{side}", ctx)
    try:
        location = Location.parse(value, ConfigFile.of_user())
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from error
    except UnknownStore as error:
        name = value.partition(":")[0]
        advice = f"add it with `s3-syncer config add {name}`, or write s3://BUCKET for a bucket of AWS S3"
        raise click.UsageError(f"{error}: {advice}", ctx) from error
    except ConfigError as error:
        raise Unusable(str(error)) from error
    locations[side] = location
    ctx.meta.setdefault(STATED, {}).update(location.variables(side))


def _location_option(side: Side, what: str, replaced: str) -> Any:
    return option(
        side.capitalize(),
        f"--{side}",
        f"{side}_location",
        envvar=(),
        metavar="LOCATION",
        is_eager=True,
        expose_value=False,
        callback=partial(_keep, side),
        help=f"Store, bucket and prefix {what}, as s3://BUCKET/PREFIX for AWS S3 or NAME:BUCKET/PREFIX for a store of "
        f"`s3-syncer config`. It replaces the {side.upper()} variables about {replaced}.",
    )


SOURCE_LOCATION = _location_option("source", "to read", "endpoint, region, bucket, prefix, owner and credentials")
TARGET_LOCATION = _location_option("target", "to write", "endpoint, region, bucket, prefix and credentials")


def _location_argument(side: Side) -> Any:
    return click.argument(side, required=False, is_eager=True, expose_value=False, callback=partial(_keep, side))


#: The same as arguments.
LOCATIONS = (_location_argument("source"), _location_argument("target"))
