"""Run moto's server with corrections for concurrent clients and huge objects. Takes moto's arguments."""

from __future__ import annotations

import threading
from typing import Any

from moto.s3 import models as s3
from moto.s3.exceptions import NoSuchUpload
from moto.server import main
from moto.sqs.models import Queue


def delete_one_at_a_time() -> None:
    """Serialize the deletions of messages.

    moto replaces the list of messages by a copy without the deleted one. Of two concurrent deletions, one would restore
    the message of the other, and a message that is sent meanwhile would be lost.
    """
    delete = Queue.delete_message

    def delete_message(self: Queue, *arguments: Any, **options: Any) -> None:
        with self._messages_lock:
            delete(self, *arguments, **options)

    Queue.delete_message = delete_message  # type: ignore[method-assign]


def complete_one_at_a_time() -> None:
    """Serialize the completions of multipart uploads, and repeat the response to a second completion.

    moto responds with 500 to one of two concurrent completions. Each completion also needs twice the object in memory,
    and several of a huge object need more than the machine has.
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
    """Compute no checksum for an upload without one: moto would hold the object twice more in memory."""
    build = s3.MultipartChecksumBuilder

    def builder(algorithm: str | None, type_: str | None) -> Any:
        return build(algorithm, type_) if algorithm else NoChecksum()

    s3.MultipartChecksumBuilder = builder  # type: ignore[assignment, misc]


class NoChecksum:
    """A replacement for moto's MultipartChecksumBuilder that computes nothing."""

    def addPart(self, part: bytes) -> None:
        pass

    def build(self) -> None:
        return None


if __name__ == "__main__":
    delete_one_at_a_time()
    complete_one_at_a_time()
    checksum_only_when_asked()
    main()
