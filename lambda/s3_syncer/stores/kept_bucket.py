"""A bucket of which other programs own everything, whatever the code above it asks for."""

from __future__ import annotations

from ..core.errors import Permanent
from ..core.model import Upload
from .bucket import Bucket


class KeptBucket(Bucket):
    """The bucket that a restore writes to."""

    def delete(self, key: str) -> None:  # noqa: ARG002
        """Raise Permanent: a restore has no deletion to make."""
        raise Permanent(f"{self.name} keeps each object during a restore", "NotDeleted")

    def uploads(self, key: str) -> list[Upload]:  # noqa: ARG002
        """Return no upload. An application may be at work on each of them, so none is continued or aborted.

        The restore knows the ID of each upload that it creates. If the creation got no response, the upload stays.
        """
        return []
