"""moto's server, put right for many clients at once and for huge objects. Takes moto's own arguments."""

from __future__ import annotations

import threading
from typing import Any

from moto.s3 import models as s3
from moto.s3.exceptions import NoSuchUpload
from moto.server import main
from moto.sqs.models import Queue


def delete_one_at_a_time() -> None:
    """Of two deletions at once, one would bring back what the other has deleted, or lose what is just being sent.

    moto makes a list without the message and puts it in the place of the whole one; so nothing may come in between.
    """
    delete = Queue.delete_message

    def delete_message(self: Queue, *arguments: Any, **options: Any) -> None:
        with self._messages_lock:
            delete(self, *arguments, **options)

    Queue.delete_message = delete_message  # type: ignore[method-assign]


def complete_one_at_a_time() -> None:
    """The later of two completions of an upload gets the same answer; where both come at once, moto gives it a 500.

    Each needs twice the object in memory, too, and several of a huge object more than there is.
    """
    complete, one_at_a_time = s3.S3Backend.complete_multipart_upload, threading.Lock()

    def complete_multipart_upload(self: s3.S3Backend, bucket_name: str, multipart_id: str, body: Any) -> Any:
        with one_at_a_time:
            bucket = self.get_bucket(bucket_name)
            if multipart_id in bucket.multiparts:
                return complete(self, bucket_name, multipart_id, body)
            for key in bucket.keys.values():
                if key.multipart and key.multipart.id == multipart_id:
                    return key
            raise NoSuchUpload(upload_id=multipart_id)

    s3.S3Backend.complete_multipart_upload = complete_multipart_upload  # type: ignore[method-assign]


def checksum_only_when_asked() -> None:
    """An upload without a checksum of its own gets none; moto would hold the whole object twice more to compute it."""
    build = s3.MultipartChecksumBuilder

    def builder(algorithm: str | None, type_: str | None) -> Any:
        return build(algorithm, type_) if algorithm else Unasked()

    s3.MultipartChecksumBuilder = builder  # type: ignore[assignment, misc]


class Unasked:
    """In the place of moto's MultipartChecksumBuilder."""

    def addPart(self, part: bytes) -> None:
        pass

    def build(self) -> None:
        return None


if __name__ == "__main__":
    delete_one_at_a_time()
    complete_one_at_a_time()
    checksum_only_when_asked()
    main()
