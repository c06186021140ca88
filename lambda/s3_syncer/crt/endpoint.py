"""The endpoint of a bucket, shared by the CRT client and the streaming client."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BucketEndpoint:
    """The URL that precedes a key, the region that signatures name, and the CA bundle that boto3 trusts."""

    url: str
    region: str
    ca_file: str
