"""The interfaces of a store: one Protocol per role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..core.model import ListPage

if TYPE_CHECKING:
    from .clients import Lease


class ClientSource(Protocol):
    """Hands out a client, and a client with fresher credentials after a store refused them: see `clients.py`."""

    def lease(self) -> Lease: ...

    def renew(self, refused: Lease) -> Lease | None: ...


@dataclass(frozen=True, slots=True)
class BucketLocation:
    """The name of a bucket, the prefix that bounds its keys, and the clients that reach it."""

    name: str
    prefix: str
    clients: ClientSource


class Transport(Protocol):
    """A faster way than boto3 to the responses of one bucket. It answers None where boto3 must make the request."""

    def list_page(self, position: Mapping[str, Any]) -> ListPage | None:
        """Return the page of the listing at a position, given as parameters of `list_objects_v2`."""

    def try_call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the response in boto3's form; it has an "Error" where boto3 would raise ClientError."""
