"""Make a boto3 client return responses as the store wrote them.

botocore fails for a field that it cannot parse, with a ValueError or a TypeError of its parser. It takes a 200 that is
no XML for a 500, and repeats the request, also one that has created something. So only the form of a successful
response is read here, and `responses.py` reads its values. botocore gets an error response in a form that it can parse,
because the error code decides about a repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore import handlers
from botocore.exceptions import ClientError

from ..core.errors import status_of
from . import response_xml
from .fenced_requests import UNREACHABLE
from .responses import NOT_XML

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: The operations with responses that are read here. Those with True are not repeated after a response that is not XML:
#: a second attempt can create a second upload, or finds the result of the first. And a store without tags answers
#: GetObjectTagging with the object itself, each time.
_IS_FINAL = {
    "AbortMultipartUpload": False,
    "CompleteMultipartUpload": True,
    "CreateMultipartUpload": True,
    "DeleteObject": False,
    "DeleteObjectTagging": False,
    "GetObject": False,
    "GetObjectTagging": True,
    "HeadBucket": False,
    "HeadObject": False,
    "ListMultipartUploads": False,
    "ListObjectVersions": False,
    "ListObjects": False,
    "ListObjectsV2": False,
    "ListParts": False,
    "PutObject": True,
    "PutObjectTagging": False,
    "UploadPart": False,
}

#: The function of botocore that takes a 200 for a 500. A release without it needs no other treatment.
_TREAT_AS_500 = getattr(handlers, "_handle_200_error", None)


def read_plain_responses(client: S3Client) -> None:
    """Make the client return the responses to this project's operations in the form of `responses.py`."""
    events: Any = client.meta.events  # its types know no handler with a result
    if _TREAT_AS_500 is not None:
        events.unregister("before-parse.s3.*", _TREAT_AS_500)
    events.register_first("before-parse.s3.*", _before_parse)
    events.register("needs-retry.s3.CreateMultipartUpload", _end_attempts_of_creation)
    events.register("before-call.s3.HeadBucket", _end_redirects)


def _end_redirects(context: dict[str, Any], **_: Any) -> None:
    """Make botocore follow no redirect of HeadBucket, which it sends to find the target of a redirect.

    A store that answers 301 to it too, without a region, would cause the next one, until Python stops the recursion.
    """
    context.setdefault("s3_redirect", {})["redirected"] = True


def _end_attempts_of_creation(
    operation: Any, caught_exception: Exception | None, response: tuple[Any, Any] | None, **_: Any
) -> None:
    """Raise the error, which ends the attempts, if an upload may exist: see `MultipartUploads.create`.

    The response was lost, or it is a 5xx. A store that is too busy (503) has created nothing. To return False ends the
    attempts in recent releases only: botocore 1.36.0 waits for False seconds, and repeats the request without end.
    """
    if caught_exception is not None:
        if not isinstance(caught_exception, UNREACHABLE):
            raise caught_exception
    elif response is not None and response[0].status_code >= 500 and response[0].status_code != 503:
        raise ClientError(response[1], operation.name)


def _before_parse(
    operation_model: Any, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Read the response, and leave nothing of it to botocore but its status, or an error."""
    status, body = response_dict["status_code"], response_dict["body"]
    is_final = _IS_FINAL.get(operation_model.name)
    if is_final is None:
        return
    fields: dict[str, Any] = {}
    if isinstance(body, bytes) and body.strip():
        try:
            root = response_xml.parse(body)
        except response_xml.NotXmlError:
            if status >= 300:
                return
            fields[NOT_XML] = True
            if not is_final:  # boto3 repeats it, and its ClientError has the field
                response_dict["status_code"] = 500
                customized_response_dict.update(fields)
                return
        else:
            if response_xml.name(root) == "Error":  # also with status 200: the work had begun before it failed
                response_dict["status_code"] = status_of(response_xml.code(root)) if status < 300 else status
                response_dict["body"] = response_xml.plain_error(root)
                return
            if status >= 300:
                return
            fields = response_xml.fields(root)
        response_dict["body"] = b""
    elif status >= 300:
        return
    headers = {name.lower(): value for name, value in response_dict["headers"].items()}
    response_dict["headers"] = {}
    customized_response_dict.update(fields)
    customized_response_dict["ResponseMetadata"] = {"HTTPStatusCode": status, "HTTPHeaders": headers}
