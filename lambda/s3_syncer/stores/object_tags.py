"""Read and write the tags of objects, also at stores that have no tags or answer in their own way.

| response to GetObjectTagging | meaning |
|---|---|
| a tag set | the tags |
| a `Tagging` document without a tag set; 204; an empty body of S3; 404 NoSuchTagSet | the object has no tags |
| a 404 with an unknown code, and a HEAD finds the object | the object has no tags |
| 501; 405; a 400 such as InvalidArgument or InvalidRequest | the store has no tags |
| 200 with the ETag of the object: the store ignored `?tagging` | the store has no tags |
| any other error, such as AccessDenied or 500 | raised: it says nothing about the tags |

One HEAD of the object confirms that the store has no tags, because the error could be about the object: the response
for a delete marker is a 405 too. That is learnt once, and never from AWS or a store that has returned tags before.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping

from ..core.errors import NO_ERROR_CODE, POLICY_CODES, Permanent, Retryable, SyncError, is_vague_404
from .capabilities import ObjectRequest, TagSupport
from .responses import Response

logger = logging.getLogger(__name__)

#: Error codes of a store that has no tags: NotImplemented, MethodNotAllowed, UnsupportedOperation and their like. An
#: error without a code has its HTTP status as code.
_UNSUPPORTED_CODE = re.compile(r"not.?implemented|not.?supported|unsupported|method.?not.?allowed|^(405|501)$", re.I)

#: Error codes for anything that is wrong with a request. The HEAD that confirms the error has the same key and
#: credentials, so what is wrong is the tagging.
_VAGUE_CODES = frozenset({"BadRequest", "InvalidArgument", "InvalidRequest", "InvalidURI", "400"})

#: The error codes for an object without tags. AWS uses the first for a bucket only; MinIO, versitygw, Wasabi and Huawei
#: OBS use it for an object, and Ceph the second.
UNTAGGED_CODES = frozenset({"NoSuchTagSet", "NoSuchTagSetError"})

#: A request to one object: its operation and key. Returns the response, or raises a SyncError.
Call = Callable[..., Response]


def may_refuse_tags(error: SyncError) -> bool:
    """Return True if the error of a write with tags may be about the tags."""
    return error.code in POLICY_CODES or error.code == "InvalidTag" or is_unsupported(error)


def is_unsupported(error: SyncError) -> bool:
    """Return True if the error may say that the store does not know the request."""
    return error.code in _VAGUE_CODES or _UNSUPPORTED_CODE.search(error.code) is not None


class ObjectTags:
    """The tags of the objects of one bucket. Safe to share between threads."""

    def __init__(self, name: str, call: Call, support: TagSupport) -> None:
        self._name, self._call, self.support = name, call, support

    def of(self, key: str, count: int, request: ObjectRequest) -> dict[str, str]:
        """Return the tags of an object that a response has shown with this number of tags.

        No request is made if the response proves that there are none: see `TagSupport`.
        """
        if not self.support.needs_read(request, count):
            return {}
        tags = self.read(key)
        self.support.record_tags(request, count, len(tags))
        return tags

    def read(self, key: str) -> dict[str, str]:
        """Return the tags of the object; none if the store has no tags. Raises Changed if it was deleted."""
        if self.support.exists is False:
            return {}
        try:
            response = self._call("get_object_tagging", key)
        except SyncError as error:
            if error.code in UNTAGGED_CODES or self._names_missing_tags(key, error):
                self.support.record_exists()
                return {}
            if error.code in POLICY_CODES:
                self.support.record_denied()
            if not (self.support.may_be_absent and is_unsupported(error)):
                raise
            self._confirm_absent(key, error.reason)
            return {}
        tags = response.tags
        if tags is None:
            self._judge_other_document(key, response)
            return {}
        self.support.record_exists()
        return tags

    def write(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace all tags of the object. Raises Permanent if the store has no tags, Changed as `read` does."""
        if not self.support.exists:
            self.read(key)  # a store that ignores "?tagging" would overwrite or delete the object
        if self.support.exists is False:
            if tags:
                raise self._no_tags()
            return
        if tags:
            tag_set = [{"Key": name, "Value": value} for name, value in tags.items()]
            self._call("put_object_tagging", key, Tagging={"TagSet": tag_set})
        else:
            self._call("delete_object_tagging", key)

    def require(self, key: str, *, is_there: bool) -> None:
        """Raise Permanent if the store has no tags, before an object with tags is written.

        If nothing is known yet, the tags of the object that is there show it.
        """
        if self.support.exists is None and is_there:
            self.read(key)
        if self.support.exists is False:
            raise self._no_tags()

    def _names_missing_tags(self, key: str, error: SyncError) -> bool:
        """Return True for a 404 with an unknown code if a HEAD finds the object. Raises Changed if not."""
        return is_vague_404(error) and error.code != NO_ERROR_CODE and self._call("head_object", key) is not None

    def _no_tags(self) -> Permanent:
        return Permanent(
            f"the object has tags, and {self._name} has none: set sync.tags = false (--no-tags) to copy it without",
            "NoTagging",
        )

    def _judge_other_document(self, key: str, response: Response) -> None:
        """Record that the store has no tags if its response is the object itself. Otherwise raise Retryable."""
        if response.etag and self.support.may_be_absent and self._call("head_object", key).etag == response.etag:
            self._record_absent("the store ignores ?tagging")
            return
        raise Retryable(f"get_object_tagging in {self._name}: the response is not an S3 response", "BadResponse")

    def _confirm_absent(self, key: str, reason: str) -> None:
        """Record that the store has no tags, if it has the object. Raises Changed if not."""
        self._call("head_object", key)
        self._record_absent(reason)

    def _record_absent(self, reason: str) -> None:
        if self.support.record_absent():
            extra = {"bucket": self._name, "reason": reason}
            logger.warning("%s has no object tags: objects without tags are not affected", self._name, extra=extra)
