"""One bucket on one side, below its prefix: every request to a store is made here, and every answer judged.

Keys are relative to the prefix throughout. What boto3 raises never leaves this module: see `errors.py`.
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from operator import gt
from typing import TYPE_CHECKING, Any, TypeVar, cast

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ..core import headers
from ..core.errors import CREDENTIAL_CODES, Changed, Permanent, Retryable, StoreUnusable, SyncError, classify
from ..core.listing_diff import Unordered
from ..core.model import (
    CONTENT_HEADERS,
    INLINE_BODY_MAX,
    RAW_EXPIRES,
    SOURCE_ETAG_MARKER,
    KeyPage,
    ListEntry,
    ListPage,
    ObjectState,
    Upload,
)
from ..core.multipart import MIB, Part, UploadedPart
from .protocols import ClientSource, Transport

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

#: Bytes read from the network at a time: the peak over the part's own buffer.
_CHUNK = MIB

#: Nobody there, as opposed to a connection that broke in the middle.
_NO_ANSWER = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError, SSLError)

#: The chain found no key, or none that is valid any more: a login has run out, a role cannot be taken on.
_NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)

_PARAMETERS = {name: name.replace("-", "") for name in CONTENT_HEADERS if name != "Expires"}


_Token = TypeVar("_Token")


class Bucket:
    """A bucket below a prefix. Safe to share between threads."""

    def __init__(
        self, name: str, prefix: str, clients: ClientSource, *, tags: bool, transport: Transport | None = None
    ) -> None:
        """With `transport`, boto3 makes only the requests that the transport does not answer."""
        self.name = name
        self.prefix = prefix
        self.mirrors_tags = tags
        self._clients, self._transport = clients, transport
        self._keeps_tags = False  # until it has told the tags of an object

    def full(self, key: str) -> str:
        """The whole key in the store."""
        return self.prefix + key

    # -- looking ---------------------------------------------------------------------------------------------------

    def head(self, key: str, *, confirm_missing: bool = False, tags: bool = True) -> ObjectState | None:
        """What is there now, or None when nothing is; without `tags`, those may be left out.

        With `sure` a None rests on more than a bodiless 404: the store was asked again and named the key as what is
        missing, so the bucket itself answered. A deletion needs that.
        """
        try:
            answer = self._call("head_object", key)
        except SyncError as error:
            if error.code in ("404", "NoSuchKey"):
                if confirm_missing:
                    return self._confirm_missing(key)
                return None
            # A HEAD has no body to say why it failed: wrong keys, a policy, SSE-C. A GET of one byte has.
            if error.code in ("400", "403"):
                return self._confirm_missing(key)
            raise
        return self._with_tags(key, answer) if tags else _state(answer, {})

    def with_tags(self, key: str, state: ObjectState) -> ObjectState:
        """What was looked at, and the tags that it has now. Raises Changed when it has gone."""
        return replace(state, tags=self.tags(key)) if self.mirrors_tags else state

    def get_small(self, key: str) -> ObjectState | None:
        """What is there now, and all its bytes where they are few: one GET that answers what a HEAD would.

        A None is sure, as that of `head` can be: the refusal of a GET says what is missing.
        """
        try:
            answer = self._call("get_object", key, Range=f"bytes=0-{INLINE_BODY_MAX - 1}")
        except SyncError as error:
            if error.code == "NoSuchKey":
                return None
            if isinstance(error, (Changed, Permanent)):  # empty, archived, denied: a HEAD can tell more
                return self.head(key, confirm_missing=True)
            raise
        with closing(answer["Body"]) as stream:
            # A store that overlooks the range may send any number: closing ends the connection then.
            sent = _bytes(stream, answer["ContentLength"]) if answer["ContentLength"] <= INLINE_BODY_MAX else None
        state = self._with_tags(key, _of_all(answer))
        # Not the one that was read, where it went away between the two requests, and came back.
        same = state is not None and state.etag == _unquoted(answer["ETag"])
        return replace(state, body=sent) if state and same and sent is not None and len(sent) == state.size else state

    def _confirm_missing(self, key: str) -> ObjectState | None:
        """Asks with a one-byte GET, whose refusal comes with a reason; None when the key is what is missing."""
        try:
            with closing(self._call("get_object", key, Range="bytes=0-0")["Body"]) as body:
                body.read()
        except SyncError as error:
            if error.code == "NoSuchKey":
                return None
            if error.code == "404":  # no code to be read: XML cannot carry a key with control characters
                self._ask_bucket()
                return None
            if error.code != "InvalidRange":  # the answer for an empty object, which is there
                raise
        return self._with_tags(key, self._call("head_object", key))  # it came back in the meantime

    def _ask_bucket(self) -> None:
        """Raises a SyncError when the bucket itself does not answer."""
        try:
            self._call("head_bucket", None)
        except Changed as error:  # its 404 is not about a key
            raise StoreUnusable(f"the bucket {self.name} does not exist", "NoSuchBucket") from error

    def _with_tags(self, key: str, answer: Mapping[str, Any]) -> ObjectState | None:
        try:
            return _state(answer, self.tags(key) if self.mirrors_tags else {})
        except Changed:  # it went away between the two requests: that is what there is to tell
            return self.head(key, confirm_missing=True)

    def tags(self, key: str) -> dict[str, str]:
        """The object's tags. Raises Permanent when the store answers with something else: it does not know of tags."""
        try:
            answer = self._call("get_object_tagging", key)
        except SyncError as error:
            if error.code != "BadAnswer":
                raise
            answer = {}
        if "TagSet" not in answer:
            raise Permanent(f"{self.name} is in a store that keeps no tags: turn tag sync off", "NoTagging")
        self._keeps_tags = True
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def first_part(self, key: str) -> tuple[int, int] | None:
        """How many parts the object has and the size of the first in bytes, where the store tells.

        Not pinned: it is a hint for the layout only, and moto compares the ETag with the part's own.
        """
        answer = self._call("head_object", key, PartNumber=1)
        count = answer.get("PartsCount")
        return (count, answer["ContentLength"]) if count else None

    def listing(self, after: str = "", until: str | None = None, *, in_order: bool = True) -> Iterator[KeyPage]:
        """What is there behind the key `after`, up to and including `until`, in the store's order.

        The first page is fetched at once, and the next while one is read. Raises a SyncError midway when a page cannot
        be had: whoever reads a listing to its end has seen all of it. With `in_order`, raises Unordered when a page is
        not in the order of its keys, even in what lies behind `until`: a key of the range might then still come.
        """
        ahead = ThreadPoolExecutor(1, thread_name_prefix="list")
        first = ahead.submit(self._page, {"StartAfter": self.full(after)} if after else {})
        return self._listing(ahead, first, after, until, in_order=in_order)

    def _listing(
        self, ahead: ThreadPoolExecutor, page: Future[ListPage], after: str, until: str | None, *, in_order: bool
    ) -> Iterator[KeyPage]:
        before: str | None = None
        try:
            while True:
                stretch, token = page.result()
                before = _getting_on(self.name, before, token)
                keys = stretch.keys
                if in_order and keys:
                    if keys[0] < after or any(map(gt, keys, keys[1:])):
                        raise Unordered(f"{self.name} lists its keys in an order of its own")
                    if until is not None and keys[-1] >= until:
                        token = None  # what else there is lies behind the range
                if token:
                    page = ahead.submit(self._page, {"ContinuationToken": token})
                yield _between(stretch, after, until) if in_order else _within(stretch, after, until)
                if not token:
                    return
        finally:
            ahead.shutdown(wait=False)  # never waits: whoever drops the listing may be the page's own thread

    def first(self, after: str) -> str | None:
        """The first key behind `after`, whether or not that is one itself."""
        stretch, _ = self._page({"StartAfter": self.full(after), "MaxKeys": 2})  # `after` may come first, see `_within`
        return next((key for key in stretch.keys if key > after), None)

    def _page(self, position: Mapping[str, Any]) -> ListPage:
        if self._transport is not None and (page := self._transport.list_page(position)) is not None:
            return page
        answer = self._call("list_objects_v2", None, Prefix=self.prefix, **position)
        stretch = KeyPage.of(
            ListEntry(
                item["Key"].removeprefix(self.prefix),
                item["Size"],
                _unquoted(item["ETag"]) if item.get("ETag") else None,
                item["LastModified"],
            )
            for item in answer.get("Contents", [])
        )
        if not answer.get("IsTruncated"):
            return stretch, None
        if not answer.get("NextContinuationToken"):  # taken for the end, everything behind it would count as absent
            raise Retryable(f"list_objects_v2 in {self.name}: there is more, and no token to ask for it", "CutListing")
        return stretch, answer["NextContinuationToken"]

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray:
        """`size` bytes from `start` of exactly the object with this ETag. Raises Changed when it is no longer there."""
        if size == 0:
            return bytearray()
        window = {"Range": f"bytes={start}-{start + size - 1}"}
        answer = self._call("get_object", key, IfMatch=_quoted(etag), **window)
        if _unquoted(answer["ETag"]) != etag:  # a store that ignores If-Match
            answer["Body"].close()
            raise Changed("the object changed while it was read", "PreconditionFailed")
        with closing(answer["Body"]) as stream:
            return _bytes(stream, size)

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes | bytearray, md5: bytes, state: ObjectState, marker: str | None) -> str:
        """Writes the bytes with the headers and metadata of `state`; returns the ETag the store gave them."""
        answer = self._call("put_object", key, Body=data, ContentMD5=_base64(md5), **_properties(state, marker))
        return _unquoted(answer["ETag"])

    def put_tags(self, key: str, tags: Mapping[str, str]) -> None:
        """Replaces all tags of the object. Raises Changed when the object has gone."""
        if not self._keeps_tags:
            self.tags(key)  # a store that overlooks "?tagging" would make the tags the object, or delete it
        if tags:
            tag_set = [{"Key": name, "Value": value} for name, value in tags.items()]
            self._call("put_object_tagging", key, Tagging={"TagSet": tag_set})
        else:
            self._call("delete_object_tagging", key)

    def delete(self, key: str) -> None:
        """Deletes the key; one that is not there counts as deleted."""
        try:
            self._call("delete_object", key)
        except Changed:
            return  # a store that answers 404 where AWS answers 204

    # -- multipart uploads -----------------------------------------------------------------------------------------

    def create_upload(self, key: str, state: ObjectState, marker: str | None) -> str:
        """Begins a multipart upload with the headers and metadata of `state`; returns its id."""
        upload: str = self._call("create_multipart_upload", key, **_properties(state, marker))["UploadId"]
        return upload

    def upload_part(self, key: str, upload: str, part: Part, data: bytes | bytearray, md5: bytes) -> str:
        """Writes one part; returns its ETag as the store gave it."""
        answer = self._call(
            "upload_part", key, UploadId=upload, PartNumber=part.number, Body=data, ContentMD5=_base64(md5)
        )
        return _unquoted(answer["ETag"])

    def complete_upload(self, key: str, upload: str, etags: Mapping[int, str]) -> str:
        """Makes the parts, ETags by number, into the object; returns its ETag."""
        parts = [{"PartNumber": number, "ETag": _quoted(etags[number])} for number in sorted(etags)]
        answer = self._call("complete_multipart_upload", key, UploadId=upload, MultipartUpload={"Parts": parts})
        return _unquoted(answer["ETag"])

    def abort_upload(self, key: str, upload: str) -> None:
        """Drops the upload and its parts; one that is gone counts as dropped."""
        try:
            self._call("abort_multipart_upload", key, UploadId=upload)
        except Changed:
            return

    def uploads(self, key: str) -> list[Upload]:
        """The uploads of exactly this key that are neither completed nor aborted."""
        found: list[Upload] = []
        position: dict[str, str] = {}
        while True:
            # Some stores want the exact key as prefix; the keys that it begins are left out below.
            answer = self._call("list_multipart_uploads", None, Prefix=self.full(key), **position)
            for item in answer.get("Uploads", []):
                if item["Key"] == self.full(key):
                    found.append(Upload(item["UploadId"], _age_s(answer, item["Initiated"])))
            if not answer.get("IsTruncated"):
                return found
            following = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}
            position = _getting_on(self.name, position, following)

    def parts(self, key: str, upload: str, after: int = 0, until: int | None = None) -> dict[int, UploadedPart]:
        """What has been sent of an upload, by number, behind `after` up to `until`. Raises Changed when it has gone."""
        sent: dict[int, UploadedPart] = {}
        while True:
            answer = self._call("list_parts", key, UploadId=upload, **({"PartNumberMarker": after} if after else {}))
            for item in answer.get("Parts", []):
                if until is not None and item["PartNumber"] > until:
                    return sent
                age_s = _age_s(answer, item["LastModified"]) if "LastModified" in item else 0.0
                sent[item["PartNumber"]] = UploadedPart(item["Size"], _unquoted(item["ETag"]), age_s)
            if not answer.get("IsTruncated"):
                return sent
            after = _getting_on(self.name, after, answer["NextPartNumberMarker"])

    # -- the one way to a store ------------------------------------------------------------------------------------

    def _call(self, operation: str, key: str | None, **parameters: Any) -> dict[str, Any]:
        """Makes a request; refused credentials are read afresh and the request made once more.

        Raises a SyncError that names the bucket, the operation and the request.
        """
        parameters["Bucket"] = self.name
        if key is not None:
            parameters["Key"] = self.full(key)
        if self._transport is not None and (answer := self._transport.try_call(operation, parameters)) is not None:
            if "Error" in answer:
                raise self._judge(operation, ClientError(cast("Any", answer), operation))
            return answer
        lease = self._clients.lease()
        try:
            return _request(lease.client, operation, parameters)
        except ClientError as error:
            fresh = self._clients.renew(lease) if _code(error) in CREDENTIAL_CODES else None
            if fresh is None:
                raise self._judge(operation, error) from error
        except (BotoCoreError, ResponseParserError, HTTPError, OSError) as error:
            raise self._judge(operation, error) from error
        try:
            return _request(fresh.client, operation, parameters)
        except (ClientError, BotoCoreError, ResponseParserError, HTTPError, OSError) as error:
            raise self._judge(operation, error) from error

    def _judge(self, operation: str, error: Exception) -> SyncError:
        if isinstance(error, ClientError):
            about = error.response.get("ResponseMetadata", {})
            message = error.response.get("Error", {}).get("Message", "")
            judged = classify(_code(error), about.get("HTTPStatusCode", 0), message)
            request = f", request {about['RequestId']}" if about.get("RequestId") else ""
        else:
            judged, request = _without_answer(error), ""
        judged.args = (f"{operation} in {self.name}: {judged}{request}",)
        return judged


def _request(client: S3Client, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
    call: Callable[..., dict[str, Any]] = getattr(client, operation)
    return call(**parameters)


def _without_answer(error: Exception) -> SyncError:
    """What a failure before any answer means."""
    if isinstance(error, ResponseParserError):
        return Retryable("the answer is not what S3 answers", "BadAnswer")  # it may hold an object's bytes: unquoted
    if isinstance(error, ParamValidationError):
        return Permanent(str(error).replace("\n", " "), "InvalidRequest")
    if isinstance(error, _NO_CREDENTIALS):
        return StoreUnusable(f"no credentials: {error}", "NoCredentials")
    if isinstance(error, _NO_ANSWER):
        return StoreUnusable(f"the store does not answer: {error}", "NoAnswer")
    if isinstance(error, (HTTPClientError, HTTPError, OSError)):
        return Retryable(f"the connection broke: {error}", "ConnectionBroke")
    return Permanent(f"{type(error).__name__}: {error}", "InvalidRequest")


def _code(error: ClientError) -> str:
    """The store's code, or the HTTP status where the answer has none that can be read: as botocore does for a HEAD."""
    code = error.response.get("Error", {}).get("Code")
    return str(code or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))


def _bytes(stream: StreamingBody, size: int) -> bytearray:
    """The bytes of an answer, which have to be so many. Raises Retryable."""
    data = bytearray(size)
    view, filled = memoryview(data), 0
    try:
        while chunk := stream.read(min(_CHUNK, size - filled + 1)):
            if filled + len(chunk) > size:
                raise Retryable(f"the store sent more than the {size} bytes asked for", "LongBody")
            view[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
    except (BotoCoreError, HTTPError, OSError) as error:
        raise Retryable(f"the connection broke while reading: {error}", "ConnectionBroke") from error
    if filled != size:
        raise Retryable(f"the store sent {filled} of {size} bytes", "ShortBody")
    return data


def _of_all(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer to a GET of a range, with the length that one to a HEAD would tell."""
    if "ContentRange" not in answer:
        return answer
    told = {**answer["ResponseMetadata"]["HTTPHeaders"], "content-length": answer["ContentRange"].rpartition("/")[2]}
    return {**answer, "ResponseMetadata": {"HTTPHeaders": told}}


def _state(answer: Mapping[str, Any], tags: Mapping[str, str]) -> ObjectState:
    told = answer["ResponseMetadata"]["HTTPHeaders"]
    if answer.get("ExpiresString"):  # as the owner wrote it: botocore drops the header where it is no date
        told = {**told, "expires": answer["ExpiresString"]}
    return headers.state(told, tags)


def _properties(state: ObjectState, marker: str | None) -> dict[str, Any]:
    """The parameters that give an object the headers and user metadata of `state`."""
    parameters: dict[str, Any] = {
        _PARAMETERS[name]: value for name, value in state.headers.items() if name in _PARAMETERS
    }
    parameters["Metadata"] = {**state.metadata, **({SOURCE_ETAG_MARKER: marker} if marker else {})}
    if "Expires" in state.headers:
        parameters[RAW_EXPIRES] = state.headers["Expires"]
    return parameters


def _age_s(answer: Mapping[str, Any], moment: datetime) -> float:
    """The seconds since a moment when the store answered, both by its own clock; 0 where it does not tell the time."""
    now = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return max(0.0, (parsedate_to_datetime(now) - moment).total_seconds()) if now else 0.0


def _getting_on(name: str, before: _Token, token: _Token) -> _Token:
    """The token of the next page. Raises Retryable when it is that of the page before: there would be no end."""
    if token is not None and token == before:
        raise Retryable(f"{name} lists what follows under the same token again, so there is no end to it", "CutListing")
    return token


def _between(stretch: KeyPage, after: str, until: str | None) -> KeyPage:
    """What is of the range: some stores take StartAfter for inclusive, and the key "" is the prefix itself."""
    keys = stretch.keys
    return stretch.part(bisect_right(keys, after), len(keys) if until is None else bisect_right(keys, until))


def _within(stretch: KeyPage, after: str, until: str | None) -> KeyPage:
    """As `_between`, of keys in whatever order."""
    return KeyPage.of(entry for entry in stretch if entry.key > after and (until is None or entry.key <= until))


def _base64(md5: bytes) -> str:
    return base64.b64encode(md5).decode()


def _quoted(etag: str) -> str:
    return f'"{etag}"'


def _unquoted(etag: str) -> str:
    return etag.strip('"')
