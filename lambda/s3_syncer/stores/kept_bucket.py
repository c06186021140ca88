"""A bucket from which nothing is ever deleted, whatever the code above it asks for."""

from __future__ import annotations

from ..core.errors import Permanent
from .bucket import Bucket


class KeptBucket(Bucket):
    """The bucket that a restore writes to."""

    def delete(self, key: str) -> None:  # noqa: ARG002
        """Raise Permanent: a restore has no deletion to make."""
        raise Permanent(f"{self.name} keeps each object during a restore", "NotDeleted")
