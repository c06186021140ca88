"""The boto3 clients, and the target's credentials kept fresh. Only this module builds clients."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.utils import parse_timestamp

from .. import __version__
from ..core.errors import StoreUnusable
from ..core.model import RAW_EXPIRES
from ..settings import Credentials, Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

#: Seconds a secret is trusted without another look: rotation takes effect within this time even if nothing fails.
SECRET_TTL_S = 300.0

#: Seconds within which a secret counts as freshly read: a refusal then is not for want of reading it again.
SECRET_FRESH_S = 2.0

_COMMON: dict[str, Any] = {
    # Stated because botocore's own defaults for retries changed between releases.
    "retries": {"mode": "standard", "total_max_attempts": 6},
    "connect_timeout": 5,
    "read_timeout": 60,
    "tcp_keepalive": True,
    "signature_version": "s3v4",
    # One string for all requests: botocore makes up its own for each of them, twice, a tenth of what a request costs.
    "user_agent": f"s3-syncer/{__version__} Boto3/{boto3.__version__} Botocore/{botocore.__version__}",
}


@dataclass(frozen=True, slots=True)
class Lease:
    """A client and when its credentials were read, on the monotonic clock."""

    client: S3Client
    read_at: float
    #: What it signs with; None for whatever the AWS chain has at the moment.
    credentials: Credentials | None = None

    def keys(self) -> tuple[str, str, str | None]:
        """What to sign with now: key id, secret key and session token. Raises StoreUnusable when there is nothing."""
        if self.credentials is not None:
            return self.credentials.access_key_id, self.credentials.secret_access_key, None
        with _explained("the source"):
            found = boto3.DEFAULT_SESSION.get_credentials() if boto3.DEFAULT_SESSION else None
            if found is None:
                raise NoCredentialsError
            frozen = found.get_frozen_credentials()
            return str(frozen.access_key), str(frozen.secret_key), frozen.token


class FixedClient:
    """A client whose credentials boto3 keeps fresh by itself: the source's."""

    def __init__(self, client: S3Client) -> None:
        self._lease = Lease(client, 0.0)

    def lease(self) -> Lease:
        return self._lease

    def renew(self, refused: Lease) -> Lease | None:  # noqa: ARG002 - the interface of RotatingClient
        """Nothing fresher can be had."""
        return None


class RotatingClient:
    """A client rebuilt whenever the secret behind it has changed."""

    def __init__(
        self,
        read: Callable[[], Credentials],
        build: Callable[[Credentials], S3Client],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._build, self._clock = read, build, clock
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._current: Lease | None = None

    def lease(self) -> Lease:
        """The client to use now; reads the secret when there is none yet or its TTL has passed."""
        current = self._current
        if current is not None and self._clock() - current.read_at < SECRET_TTL_S:
            return current
        with self._lock:
            if self._current is current:
                self._reload()
            assert self._current is not None
            return self._current

    def renew(self, refused: Lease) -> Lease | None:
        """A client from a fresh read of the secret, or None when `refused` already came from one."""
        with self._lock:
            if self._current is refused:
                if self._clock() - refused.read_at < SECRET_FRESH_S:
                    return None
                self._reload()
            current = self._current
            assert current is not None
            return current if current.client is not refused.client else None

    def _reload(self) -> None:
        read_at = self._clock()
        credentials = self._read()
        if self._current is not None and credentials == self._credentials:
            self._current = Lease(self._current.client, read_at, credentials)  # keeps its warm connections
        else:
            self._current = Lease(self._build(credentials), read_at, credentials)
            self._credentials = credentials


def read_secret(client: SecretsManagerClient, secret: str) -> Credentials:
    """The target's credentials from Secrets Manager. Raises StoreUnusable, never showing what the secret holds."""
    try:
        text = client.get_secret_value(SecretId=secret)["SecretString"]
    except KeyError:
        raise StoreUnusable(f"the secret {secret} is binary: {_EXPECTED}", "BadSecret") from None
    except (ClientError, BotoCoreError) as error:
        raise StoreUnusable(f"the secret {secret} cannot be read: {error}", "SecretUnreadable") from error
    return parse_secret(text, secret)


_EXPECTED = 'write {"access_key_id": "...", "secret_access_key": "..."} into it'


def parse_secret(text: str, name: str) -> Credentials:
    """The credentials in a secret's JSON: our own form, or the older `lc_access_key`, `lc_secret_key`."""
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if isinstance(content, dict):
        for key_id, key in (("access_key_id", "secret_access_key"), ("lc_access_key", "lc_secret_key")):
            pair = content.get(key_id), content.get(key)
            if all(isinstance(half, str) and half for half in pair):
                return Credentials(str(pair[0]).strip(), str(pair[1]).strip())
    raise StoreUnusable(f"the secret {name} does not hold the target's credentials: {_EXPECTED}", "BadSecret")


def source_client(connections: int) -> FixedClient:
    """The source's client: region, credentials and endpoint from the ordinary AWS chain. Raises StoreUnusable."""
    with _explained("the source"):
        return FixedClient(_client("s3", config=Config(max_pool_connections=connections, **_COMMON)))


def target_client(settings: Settings, connections: int) -> RotatingClient:
    """The target's client: nothing of it comes from the `AWS_*` environment. Raises StoreUnusable."""
    config = Config(
        max_pool_connections=connections,
        # aws-chunked bodies with CRC trailers, the default, are refused by many S3-compatible stores.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"},
        **_COMMON,
    )

    def build(credentials: Credentials) -> S3Client:
        with _explained("the target"):
            client: S3Client = _client(
                "s3",
                endpoint_url=settings.target_endpoint,
                region_name=settings.target_region,
                aws_access_key_id=credentials.access_key_id,
                aws_secret_access_key=credentials.secret_access_key,
                aws_session_token=None,
                config=config,
            )
        pass_raw_expires(client)
        return client

    given = settings.target_credentials
    if isinstance(given, Credentials):
        return RotatingClient(lambda: given, build)
    with _explained("Secrets Manager"):
        kept = {name: _COMMON[name] for name in ("retries", "user_agent")}
        secrets: SecretsManagerClient = _client("secretsmanager", config=Config(**kept))
    return RotatingClient(lambda: read_secret(secrets, given), build)


def queue_client(connections: int) -> SQSClient:
    """A client for the queue, from the ordinary AWS chain. Raises StoreUnusable.

    It gives up sooner than the others: whoever is about to lose a message to its visibility timeout has to ask again.
    """
    config = {
        **_COMMON,
        "retries": {"mode": "standard", "total_max_attempts": 3},
        "read_timeout": 30,  # the longest poll takes 20
        "max_pool_connections": connections,
    }
    with _explained("the queue"):
        client: SQSClient = _client("sqs", config=Config(**config))
    return client


def _client(service: str, **options: Any) -> Any:
    """A client of boto3's default session, which is made here, because a session takes 10 MB and 0.1 s.

    It reads times with the standard library: botocore's own way is more than half of what a listing costs.
    """
    if boto3.DEFAULT_SESSION is None:
        session = botocore.session.get_session()
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_time)
        boto3.setup_default_session(botocore_session=session)
    return boto3.client(service, **options)


def parse_time(value: Any) -> datetime:
    """The time in an answer: ISO 8601 in UTC as listings have it, the form that HTTP's headers have, or any other.

    The others are left to botocore, which takes 20 times as long.
    """
    if isinstance(value, str):
        with suppress(ValueError):
            if value.endswith("Z"):
                return datetime.fromisoformat(value)
            if value.endswith(" GMT"):
                return parsedate_to_datetime(value)
    other: datetime = parse_timestamp(value)
    return other


@contextmanager
def _explained(whom: str) -> Iterator[None]:
    """Turns what boto3 raises for a profile, region or endpoint that it cannot use into StoreUnusable."""
    try:
        yield
    except (BotoCoreError, ValueError) as error:
        raise StoreUnusable(f"cannot talk to {whom}: {error}", "BadConfiguration") from error


def pass_raw_expires(client: S3Client) -> None:
    """Lets `client` send the Expires header as it stands, signed like every other header."""

    def take(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if RAW_EXPIRES in params:
            context[RAW_EXPIRES] = params.pop(RAW_EXPIRES)

    def send(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if RAW_EXPIRES in context:
            params["headers"]["Expires"] = context[RAW_EXPIRES]

    for operation in ("PutObject", "CreateMultipartUpload"):
        client.meta.events.register(f"provide-client-params.s3.{operation}", take)
        client.meta.events.register(f"before-call.s3.{operation}", send)
