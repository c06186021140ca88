"""Credentials: the target's secret and its rotation, the source's role, and the keys of signatures."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError

from ..core.errors import StoreUnusable, Transient
from ..settings import Credentials
from .aws_environment import advice
from .fenced_requests import UNREACHABLE
from .sessions import may_pass, require_signable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient

#: Seconds for which a secret is used before it is read again. A rotation takes effect within this time even if no
#: request fails.
SECRET_TTL_S = 300.0

#: Seconds after a read within which reading the secret again cannot help: a store that refuses these credentials
#: refuses the current ones.
SECRET_FRESH_S = 2.0

#: Seconds after the start of a session with a role within which no new one starts. A policy may deny some keys in each
#: request for them, and each new session costs a request to STS and new connections.
ROLE_FRESH_S = 60.0

_EXPECTED = 'write {"access_key_id": "...", "secret_access_key": "..."} into it'


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The keys that sign a request. The repr shows only the id."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Lease:
    """A client and the time when its credentials were read, on the monotonic clock."""

    client: S3Client
    read_at: float
    #: The credentials that the client signs with, or the session that has them at each moment.
    credentials: Credentials | boto3.Session | None = None

    def signing_keys(self) -> SigningKeys:
        """Return the keys that sign a request now. Raises StoreUnusable or Transient when there are none."""
        if isinstance(self.credentials, Credentials):
            return SigningKeys(self.credentials.access_key_id, self.credentials.secret_access_key)
        with explained("the store"):
            found = self.credentials.get_credentials() if self.credentials is not None else None
            if found is None:
                raise NoCredentialsError
            frozen = found.get_frozen_credentials()
            require_signable(frozen, found.method)
            return SigningKeys(str(frozen.access_key), str(frozen.secret_key), frozen.token)


class FixedClient:
    """The client of a store with fixed credentials, or with credentials that boto3 itself keeps fresh."""

    def __init__(self, client: S3Client, credentials: Credentials | boto3.Session | None = None) -> None:
        self._lease = Lease(client, 0.0, credentials)

    def lease(self) -> Lease:
        return self._lease

    def renew(self, refused: Lease) -> Lease | None:  # noqa: ARG002 - the interface of RotatingClient
        """Return None: there are no fresher credentials."""
        return None


class RoleClient:
    """The client of a store with an assumed role. Safe to share between threads.

    boto3 renews the credentials of the role before they expire. They can end sooner, when an administrator revokes the
    sessions of the role. So a refused request starts a new session, at most once in ROLE_FRESH_S.
    """

    def __init__(
        self, build: Callable[[], tuple[S3Client, boto3.Session]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._build, self._clock = build, clock
        self._lock = threading.Lock()
        self._current = self._start()

    def lease(self) -> Lease:
        return self._current

    def renew(self, refused: Lease) -> Lease | None:
        """Return a client with a newer session than `refused` has, or None if there is none."""
        with self._lock:
            if self._current is refused and self._clock() - refused.read_at >= ROLE_FRESH_S:
                self._current = self._start()
            return self._current if self._current is not refused else None

    def _start(self) -> Lease:
        started_at = self._clock()
        client, session = self._build()
        return Lease(client, started_at, session)


class RotatingClient:
    """The client of the target, rebuilt whenever its secret has changed. Safe to share between threads."""

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
        """Return the client to use now. Reads the secret at the first call, and again after its TTL."""
        current = self._current
        if current is not None and self._clock() - current.read_at < SECRET_TTL_S:
            return current
        with self._lock:
            if self._current is current or self._current is None:
                return self._reload()
            return self._current

    def renew(self, refused: Lease) -> Lease | None:
        """Return a client with newer credentials than `refused` has, or None if there are none.

        A reload that finds the same credentials gives a new lease of the same client. So the clients are compared: a
        request that began before such a reload may be refused after a rotation.
        """
        with self._lock:
            current = self._current or refused
            if current.client is refused.client and self._clock() - current.read_at >= SECRET_FRESH_S:
                current = self._reload()
            return current if current.client is not refused.client else None

    def _reload(self) -> Lease:
        read_at = self._clock()
        credentials = self._read()
        if self._current is not None and credentials == self._credentials:
            lease = Lease(self._current.client, read_at, credentials)  # keeps the open connections
        else:
            lease = Lease(self._build(credentials), read_at, credentials)
            self._credentials = credentials
        self._current = lease
        return lease


def read_secret(client: SecretsManagerClient, secret: str) -> Credentials:
    """Read the credentials of the target from Secrets Manager.

    Raises StoreUnusable, or Transient where a later request may succeed. No message contains the value of the secret.
    """
    try:
        text = client.get_secret_value(SecretId=secret)["SecretString"]
    except KeyError:
        raise StoreUnusable(f"the secret {secret} is binary: {_EXPECTED}", "BadSecret") from None
    except (ClientError, BotoCoreError) as error:
        kind = Transient if _may_pass(error) else StoreUnusable
        raise kind(f"the secret {secret} cannot be read: {error}", "SecretUnreadable") from error
    return parse_secret(text, secret)


def _may_pass(error: ClientError | BotoCoreError) -> bool:
    """Return True if the service was busy, or was not reached."""
    if isinstance(error, ClientError):
        return may_pass(error)
    return isinstance(error, (*UNREACHABLE, HTTPClientError))


def parse_secret(text: str, name: str) -> Credentials:
    """Return the credentials in the JSON of a secret.

    Both forms are accepted: this project's own, and the older `lc_access_key` with `lc_secret_key`. Raises
    StoreUnusable, also for temporary credentials: no request would be signed with their token.
    """
    try:
        content = json.loads(text.lstrip("\ufeff"))  # the byte order mark of a file from Windows
    except ValueError:
        content = None
    if isinstance(content, dict):
        if content.get("session_token"):
            reason = "has a session_token, so its access key expires, and the mirror would stop then"
            raise StoreUnusable(f"the secret {name} {reason}: {_EXPECTED}, of a key that lasts", "BadSecret")
        for key_id, key in (("access_key_id", "secret_access_key"), ("lc_access_key", "lc_secret_key")):
            pair = content.get(key_id), content.get(key)
            if all(isinstance(half, str) and half for half in pair):
                found = Credentials(str(pair[0]).strip(), str(pair[1]).strip())
                if not found.can_sign:
                    reason = "has an access key that is empty, or has control or other unusable characters"
                    raise StoreUnusable(f"the secret {name} {reason}: {_EXPECTED}", "BadSecret")
                return found
    raise StoreUnusable(f"the secret {name} does not contain the target's credentials: {_EXPECTED}", "BadSecret")


@contextmanager
def explained(service: str) -> Iterator[None]:
    """Turn the error of boto3 for an unusable profile, region, endpoint or credential into StoreUnusable.

    The error of a service that has the credentials is Transient if a later request may succeed.
    """
    try:
        yield
    except ClientError as error:
        kind = Transient if may_pass(error) else StoreUnusable
        raise kind(f"cannot connect to {service}: {error}", "NoCredentials") from error
    except (BotoCoreError, OSError, ValueError) as error:
        raise StoreUnusable(f"cannot connect to {service}: {error}{advice(error)}", "BadConfiguration") from error
