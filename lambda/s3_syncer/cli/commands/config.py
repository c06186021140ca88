"""The commands `config`: add, list and remove the stores that have a name."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from ...settings import ADDRESSING_STYLES
from ...settings_reader import Reader, SettingsError
from ..click_extensions import Command, Unusable, option, with_options
from ..options import operations as groups
from ..options.settings import check_region, option_of
from ..options.store_config import ConfigError, ConfigFile, NamedStore, UnknownStore

_STORE = "Store"

_FIELDS = (
    option(_STORE, "--endpoint", default="", envvar=(), help="URL of the store. Default: AWS S3."),
    option(
        _STORE,
        "--region",
        default="",
        envvar=(),
        help="Region of the store. Default: us-east-1 with --endpoint, and otherwise that of the AWS configuration.",
    ),
    option(_STORE, "--bucket", default="", envvar=(), help="Bucket of a location without one, such as NAME:."),
    option(
        _STORE,
        "--profile",
        default="",
        envvar=(),
        help="Profile of the AWS configuration files with the credentials of the store.",
    ),
    option(
        _STORE,
        "--access-key-id",
        default="",
        envvar=(),
        help="ID of the access key. The command asks for the secret access key, or reads it from standard input.",
    ),
    option(
        _STORE,
        "--addressing-style",
        envvar=(),
        type=click.Choice(ADDRESSING_STYLES),
        help="Place of the bucket in an address. Default: path for a target; boto3 chooses for a source.",
    ),
    option(
        _STORE,
        "--ca-certificate",
        default="",
        envvar=(),
        metavar="FILE",
        help="File with the CA certificates of the store in PEM, if a private CA has signed its certificate.",
    ),
    option(
        _STORE,
        "--payload-signing",
        is_flag=True,
        envvar=(),
        help="Sign the hash of each body too, for a target that refuses UNSIGNED-PAYLOAD.",
    ),
    option(_STORE, "--overwrite", is_flag=True, envvar=(), help="Replace a store with the same name."),
)


@click.group("config")
def config() -> None:
    """Give names to stores, for the SOURCE and the TARGET of other commands.

    The file is config.toml in ~/.config/s3-syncer, or below XDG_CONFIG_HOME. S3_SYNCER_CONFIG names another file.
    """


def _with_file(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with the configuration file as its first argument."""

    @wraps(command)
    def run(**options: Any) -> Any:
        try:
            return command(ConfigFile.of_user(os.environ), **options)
        except UnknownStore as error:
            raise click.UsageError(str(error)) from error
        except ConfigError as error:
            raise Unusable(str(error)) from error

    return run


@config.command(
    cls=Command,
    examples=[
        (
            "Add a store, and type its secret access key",
            "s3-syncer config add lyve --endpoint https://s3.us-east-1.example.com --region us-east-1 "
            "--access-key-id AKIDEXAMPLE",
        ),
        ("Take the credentials from a profile", "s3-syncer config add work --profile work"),
    ],
)
@with_options(_FIELDS)
@click.argument("name")
@_with_file
def add(
    file: ConfigFile, name: str, overwrite: bool, endpoint: str, addressing_style: str | None, **given: Any
) -> None:
    """Add a store with a NAME.

    The secret access key is never an argument, because other users of the machine can list those. Only you can read the
    file.
    """
    if not overwrite and name in file.stores():
        raise click.UsageError(f"{file.path} already has a store {name!r}: add --overwrite, or write another name")
    endpoint = _address(endpoint, given["region"])
    secret = _secret() if given["access_key_id"] else ""
    style = addressing_style or ""
    file.add(name, NamedStore(endpoint, addressing_style=style, secret_access_key=secret, **given))


@config.command("list", cls=Command, examples=[("List the names", "s3-syncer config list")])
@with_options(groups.JSON)
@_with_file
def list_(file: ConfigFile, as_json: bool) -> None:
    """List the stores that have a name, without their secret access keys."""
    stores = file.stores()
    if as_json:
        click.echo(json.dumps({name: _shown(store) for name, store in stores.items()}, indent=2))
        return
    for name, store in stores.items():
        shown = _shown(store)
        words = (name, shown["endpoint"] or "AWS S3", shown["region"], shown["bucket"], _credentials(store))
        click.echo("\t".join(map(str, words)))


@config.command(cls=Command, examples=[("Print the path", "s3-syncer config path")])
@_with_file
def path(file: ConfigFile) -> None:
    """Print the path of the file."""
    click.echo(file.path)


@config.command(cls=Command, examples=[("Remove a store", "s3-syncer config remove lyve")])
@click.argument("name")
@_with_file
def remove(file: ConfigFile, name: str) -> None:
    """Remove the store with this NAME."""
    file.remove(name)


def _address(endpoint: str, region: str) -> str:
    """Return the URL as other commands read it. Raises UsageError, also for a region that they reject."""
    reader = Reader({"ENDPOINT": endpoint, "REGION": region}, label=option_of)
    check_region(reader, "REGION")
    endpoint = reader.endpoint("ENDPOINT", bucket="", is_required=False)
    try:
        reader.done()
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    return endpoint


def _secret() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Secret access key", hide_input=True)).strip()
    if secret := sys.stdin.readline().strip():
        return secret
    raise click.UsageError("standard input has no secret access key: write it there as one line, or use a terminal")


def _shown(store: NamedStore) -> dict[str, Any]:
    """Return the fields of a store without its secret."""
    names = ("endpoint", "region", "bucket", "profile", "access_key_id", "addressing_style", "ca_certificate")
    return {**{name: getattr(store, name) for name in names}, "payload_signing": store.payload_signing}


def _credentials(store: NamedStore) -> str:
    if store.profile:
        return f"profile {store.profile}"
    return f"access key {store.access_key_id}" if store.access_key_id else "AWS credential chain"
