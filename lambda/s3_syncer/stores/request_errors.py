"""Turn every exception of boto3 into a SyncError: see `core/errors.py`. None of them leaves `stores/`."""

from __future__ import annotations

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ..core.errors import NO_ERROR_CODE, Permanent, Retryable, StoreUnusable, SyncError, Transient, classify
from .fenced_requests import UNREACHABLE
from .responses import is_not_xml, not_xml
from .sessions import may_pass

#: The exceptions that a request of boto3 can raise.
REQUEST_ERRORS = (ClientError, BotoCoreError, ResponseParserError, HTTPError, OSError)

#: The requests of boto3 for credentials, which it makes as a part of a request to a store.
_CREDENTIAL_OPERATIONS = frozenset(
    {"AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "CreateToken", "GetRoleCredentials"}
)

#: The AWS chain has no valid credentials: there are none, a login has expired, or a role cannot be assumed.
_NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)


#: The address of a request in an error of boto3.
_ADDRESS = re.compile(r'"(https?://[^/"]+)[^"]*"')


def as_sync_error(operation: str, bucket: str, error: Exception) -> SyncError:
    """Return the SyncError for an exception of a request; `operation` is the method of boto3."""
    found = _of_response(operation, error) if isinstance(error, ClientError) else _without_response(error)
    found.args = (f"{operation} in {bucket}: {found.reason}",)
    return found


def error_code(error: ClientError) -> str:
    """Return the error code of the store, or else the HTTP status, as botocore does for a HEAD."""
    code = error.response.get("Error", {}).get("Code")
    return str(code or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))


def _of_response(operation: str, error: ClientError) -> SyncError:
    if is_not_xml(error.response):
        return not_xml()
    if error.operation_name in _CREDENTIAL_OPERATIONS and not may_pass(error):
        return StoreUnusable(f"no credentials: {error}", "NoCredentials")
    metadata = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    found = classify(error_code(error), status, error.response.get("Error", {}).get("Message", ""))
    if found.code == "404" and not operation.startswith("head_"):
        found = Retryable("the 404 has no error code, so it does not say what is missing", NO_ERROR_CODE)
        found.status = status
    found.request_id = metadata.get("RequestId", "")
    return found


def _without_response(error: Exception) -> SyncError:
    """Return the SyncError for a failure without a usable response."""
    if isinstance(error, ResponseParserError):
        # The text of this error is left out: it may contain the bytes of an object.
        return Retryable("the response is not an S3 response", "BadResponse")
    if isinstance(error, ParamValidationError):
        return Permanent(str(error).replace("\n", " "), "InvalidRequest")
    if isinstance(error, _NO_CREDENTIALS):
        return StoreUnusable(f"no credentials: {error}", "NoCredentials")
    if isinstance(error, HTTPClientError) and str(error.kwargs.get("error")).startswith("Invalid header"):
        # The text of this error is left out: it may contain the session token.
        return Retryable("the request has a header that HTTP does not allow, so it cannot be sent", "InvalidRequest")
    # The path of the address has the key, so it would make equal failures of two keys look different.
    text = _ADDRESS.sub(r'"\1"', str(error))
    if isinstance(error, UNREACHABLE):
        return Transient(f"the store does not respond: {text}", "NoResponse")
    if isinstance(error, (HTTPClientError, HTTPError, OSError)):
        return Transient(f"the connection broke: {text}", "ConnectionBroke")
    return Permanent(f"{type(error).__name__}: {error}", "InvalidRequest")
