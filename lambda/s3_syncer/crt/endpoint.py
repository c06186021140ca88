"""Where a bucket is, whom to trust there, and what to sign with: what both ways of the lane have in common."""

from __future__ import annotations

from dataclasses import dataclass

#: A key id, a secret key and a session token.
SigningKeys = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class BucketEndpoint:
    """`url` is what comes before the slash and a key; `ca_file` holds the authorities that boto3 trusts as well."""

    url: str
    region: str
    ca_file: str
