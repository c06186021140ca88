"""The two stores of a case, and the comparison of all objects after every run."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import trustme
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from benchmark.clients import ACCESS_KEY_ID, BUCKET, REGION, SECRET_ACCESS_KEY
from benchmark.objects import MIB, Object
from localcloud import servers
from localcloud.servers import HOST, OF_SCRIPTS, Identity, Program, Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Bytes of a part of objects that are uploaded in parts.
PART = 16 * MIB

#: The objects of a bucket: size and MD5 by key.
Content = Mapping[str, tuple[int, str]]


def identity(folder: Path) -> Identity:
    """Create a CA and a certificate for both stores, and write them to the folder."""
    made = Identity(folder / "certificate.pem", folder / "authority.pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(made.authority))
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(made.certificate))
    return made


@contextmanager
def empty(folder: Path, identity: Identity | None = None) -> Iterator[Server]:
    """Run `rclone serve s3` in memory with a new, empty bucket.

    A new server gives every client the same conditions.
    """
    with servers.running(servers.rclone(ACCESS_KEY_ID, SECRET_ACCESS_KEY, identity), folder) as server:
        client(server).create_bucket(Bucket=BUCKET)
        yield server


@contextmanager
def empty_like_aws(folder: Path) -> Iterator[Server]:
    """Run moto with a new, empty bucket."""
    with servers.running(servers.moto(), folder) as server:
        client(server).create_bucket(Bucket=BUCKET)
        yield server


def fake_store(count: int, identity: Identity | None = None) -> Program:
    """Return a read-only store with `count` keys: see `fake_store.py`."""
    arguments = [str(count), *([str(identity.certificate)] if identity else [])]
    return Program(
        name="fake-store",
        command=lambda port: [sys.executable, "-m", "benchmark.fake_store", str(port), *arguments],
        ready="/",
        environment=lambda _port: OF_SCRIPTS,
        authority=identity.authority if identity else None,
    )


@contextmanager
def far(server: Server, round_trip_ms: float, folder: Path) -> Iterator[Server]:
    """Return a relay in front of the server, or the server itself without a round trip."""
    if not round_trip_ms:
        yield server
        return
    with servers.running(servers.relay(server, round_trip_ms), folder) as relay:
        yield relay


def client(server: Server) -> S3Client:
    made: S3Client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        verify=server.authority or None,
        config=Config(s3={"addressing_style": "path"}),
    )
    return made


def fill_in_parts(server: Server, objects: Sequence[Object]) -> None:
    """Upload the objects in parts of PART. Raises ValueError if the ETag does not show the parts."""
    store = client(server)
    for o in objects:
        store.upload_fileobj(BytesIO(o.body()), BUCKET, o.key, Config=TransferConfig(multipart_chunksize=PART))
        etag = store.head_object(Bucket=BUCKET, Key=o.key)["ETag"].strip('"')
        if not etag.endswith(f"-{-(-o.size // PART)}"):
            raise ValueError(f"{o.key} has the ETag {etag}, which does not show parts of {PART} bytes")


def expected(objects: Sequence[Object]) -> Content:
    return {o.key: (o.size, o.md5()) for o in objects}


def content(server: Server) -> Content:
    """Return the size and MD5 of every object. One with the ETag of several parts is read for its MD5."""
    store = client(server)
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    entries = chain.from_iterable(page.get("Contents", []) for page in pages)
    return {entry["Key"]: (entry["Size"], _md5(store, entry["Key"], entry["ETag"].strip('"'))) for entry in entries}


def _md5(store: S3Client, key: str, etag: str) -> str:
    if "-" not in etag:
        return etag
    body = store.get_object(Bucket=BUCKET, Key=key)["Body"]
    return hashlib.file_digest(body, "md5").hexdigest()  # type: ignore[arg-type] # it has `readinto`


def mistakes(wanted: Content, found: Content) -> str:
    """Return the mistakes of a copy in words, or an empty string."""
    kinds = {
        "missing": wanted.keys() - found.keys(),
        "different": {key for key in wanted.keys() & found.keys() if wanted[key] != found[key]},
        "extra": found.keys() - wanted.keys(),
    }
    return "; ".join(f"{len(keys)} {kind}, such as {min(keys)!r}" for kind, keys in kinds.items() if keys)
