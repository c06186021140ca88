"""Make single requests to a service, and return each error as a value that a check can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ..core.deadline import OutOfTime
from ..core.errors import POLICY_CODES, StoreUnusable, SyncError, classify
from ..stores.responses import Response

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Codes of an error that says that the permission is missing: of S3, and of other services and stores.
_DENIED = POLICY_CODES | {"AccessDeniedException", "Forbidden", "AuthorizationError"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to a request, or its error. `code` is empty without an error."""

    response: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    status: int = 0
    reason: str = ""
    body: bytes = b""
    #: True if the error is about the credentials, the bucket or the connection: no other request can succeed.
    is_unusable: bool = False

    @property
    def is_ok(self) -> bool:
        return not self.code

    @property
    def is_denied(self) -> bool:
        """Return True if the permission for the request is missing."""
        return self.code in _DENIED

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers of the response, with names in lower case."""
        headers: Mapping[str, str] = self.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers

    def clock_ahead_s(self) -> float | None:
        """Return the seconds by which the clock of the service is ahead, or None without a Date header."""
        try:
            date = parsedate_to_datetime(self.headers["date"])
        except (KeyError, ValueError):
            return None
        return (date - datetime.now(UTC)).total_seconds()


def call(request: Callable[..., Any], **parameters: Any) -> Answer:
    """Make a request with a method of a boto3 client, and read the body of its response."""
    try:
        response = request(**parameters)
        if "Body" in response:
            with closing(response["Body"]) as stream:
                return Answer(response, status=_status(response), body=stream.read())
    except ClientError as error:
        response = error.response
        code = str(response.get("Error", {}).get("Code", "")) or str(_status(response))
        found = classify(code, _status(response), response.get("Error", {}).get("Message", ""))
        return Answer(response, code, _status(response), found.reason, is_unusable=isinstance(found, StoreUnusable))
    except OutOfTime:
        raise
    except SyncError as error:  # the secret of the target cannot be read
        return Answer(code=error.code, reason=error.reason, is_unusable=True)
    except (ResponseParserError, ValueError, KeyError) as error:
        return Answer(code="BadResponse", reason=f"the response cannot be read: {error}")
    except (BotoCoreError, HTTPError, OSError) as error:
        return Answer(code=type(error).__name__, reason=str(error), is_unusable=True)
    return Answer(response, status=_status(response))


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing of keys. Without a listing, `answer` has the reason."""

    answer: Answer
    keys: Sequence[str] = ()
    #: False if more keys follow; None if the response does not say so.
    is_last: bool | None = None
    token: str | None = None


def list_page(client: S3Client, bucket: str, prefix: str, **parameters: Any) -> Page:
    """Return a page of the keys below a prefix, with full keys."""
    # With the parameter, botocore leaves the keys encoded, and `Response` decodes them.
    answer = call(client.list_objects_v2, Bucket=bucket, Prefix=prefix, EncodingType="url", **parameters)
    if not answer.is_ok:
        return Page(answer)
    response = Response("list_objects_v2", bucket, answer.response)
    try:
        keys = response.check().list_page("").keys.keys
    except SyncError as error:
        return Page(replace(answer, code=error.code, reason=error.reason, is_unusable=True))
    return Page(answer, keys, response.is_last, answer.response.get("NextContinuationToken"))


def _status(response: Mapping[str, Any]) -> int:
    status: int = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status
