"""Choose the credentials of both stores from the options and the environment variables of a command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from ...settings import DEFAULT_CHAIN, AwsChain, Credentials
from ...settings_reader import Reader
from .store_locations import Side, location_of

#: The ranks of the ways to name credentials. The way with the lowest rank wins.
_OPTION, _VARIABLE = range(2)


def source_credentials(options: Mapping[str, Any], reader: Reader) -> Credentials | AwsChain:
    """Return the credentials of the source: an access key, or the chain of a profile or of AWS.

    Two that contradict each other are a mistake.
    """
    chain = AwsChain(options["source_profile"] or "", options["source_role_arn"] or "")
    keys = _access_key("source", reader)
    if keys is None:
        return chain
    if chain.role_arn:
        reader.mistake(
            "a role is assumed with credentials of AWS: to use --source-role-arn, unset SOURCE_ACCESS_KEY_ID and "
            "SOURCE_SECRET_ACCESS_KEY, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --source-profile"
        )
    way = _choose({**_given("source_profile", options), "SOURCE_ACCESS_KEY_ID": _VARIABLE}, "source", reader)
    return keys if way == "SOURCE_ACCESS_KEY_ID" else chain


def target_credentials(options: Mapping[str, Any], reader: Reader) -> str | Credentials | AwsChain:
    """Return the credentials of the target: a secret, an access key, or those of a profile.

    None is a mistake, and so are two that contradict each other. A secret wins over an access key in the environment.
    """
    secret = _given("target_secret_arn", options)
    ways = {**secret, **_given("target_profile", options)}
    keys = None if secret else _access_key("target", reader)
    if keys is not None:
        ways["TARGET_ACCESS_KEY_ID"] = _VARIABLE
    match _choose(ways, "target", reader):
        case "--target-secret-arn":
            return str(options["target_secret_arn"])
        case "--target-profile":
            return AwsChain(str(options["target_profile"]))
    if keys is None and location_of("target") is not None:  # of AWS: every other store has credentials
        return DEFAULT_CHAIN
    if keys is None:
        reader.mistake(
            "the access key of the target is missing: give --target-secret-arn or --target-profile, or set "
            "TARGET_ACCESS_KEY_ID and TARGET_SECRET_ACCESS_KEY"
        )
    return keys or Credentials("", "")


def _given(name: str, options: Mapping[str, Any]) -> dict[str, int]:
    """Return the option with its rank, or nothing if it has no value."""
    if not options[name]:
        return {}
    is_typed = click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
    return {"--" + name.replace("_", "-"): _OPTION if is_typed else _VARIABLE}


def _choose(ways: Mapping[str, int], side: str, reader: Reader) -> str:
    """Return the way with the lowest rank, or "" without one. Two with this rank are a mistake."""
    best = [way for way, rank in ways.items() if rank == min(ways.values())]
    if len(best) > 1:
        reader.mistake(f"{' and '.join(best)} both give the credentials of the {side}: set only one of them")
    return best[0] if best else ""


def _access_key(side: Side, reader: Reader) -> Credentials | None:
    """Return the access key of the location, or else that in the environment. None without one.

    Half of one is a mistake.
    """
    if (location := location_of(side)) is not None:
        return location.store.keys
    names = f"{side.upper()}_ACCESS_KEY_ID", f"{side.upper()}_SECRET_ACCESS_KEY"
    key_id, secret = (os.environ.get(name, "").strip() for name in names)
    if not key_id and not secret:
        return None
    if not key_id or not secret:
        reader.mistake(f"{names[0]} and {names[1]} belong together: set both, or none")
    elif not Credentials(key_id, secret).can_sign:
        reader.mistake(f"{names[0]} and {names[1]} must not have control or other unusable characters")
    return Credentials(key_id, secret)
