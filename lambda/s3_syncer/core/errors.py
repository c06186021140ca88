"""The two kinds of failure that matter, Retryable and Permanent, and the table of error codes.

Pure: `stores/request_errors.py` turns an exception of boto3 into a code and a status, and calls `classify`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from .model import Archive


class SyncError(Exception):
    """A failure with its cause: `code` is the error code of the store, or a name of this project.

    `request_id` names the failed request in the logs of the store; it is empty if there was no response.
    """

    #: The HTTP status of the response; 0 without one, or if other requests have judged the error since.
    status: int = 0

    def __init__(self, message: str, code: str = "", *, request_id: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).__name__
        self.request_id = request_id

    @property
    def log_fields(self) -> dict[str, str]:
        """Return the fields of a log record: the reason, and the request ID if there is one."""
        return {"reason": self.reason} | ({"request_id": self.request_id} if self.request_id else {})

    @property
    def reason(self) -> str:
        """Return the message without the request ID, so that equal failures have equal reasons in the log."""
        return super().__str__()

    def __str__(self) -> str:
        """Return the message for people, with the request ID."""
        return f"{self.reason}, request ID {self.request_id}" if self.request_id else self.reason


class Retryable(SyncError):
    """May succeed later: the message goes back to the queue."""


class Changed(Retryable):
    """The object changed after it was compared: compare it again at once."""


class StaleWrite(Changed):
    """The write was not served for so long that another worker may have written newer content since."""


class Transient(Retryable):
    """The store did not serve the request, or the connection broke: the same request may succeed soon."""


class Busy(Transient):
    """The store is too busy for the request: it asks to slow down, or to come back later."""


class StoreUnusable(Retryable):
    """No request to this store can succeed until an operator repairs it.

    Examples are wrong credentials and a missing bucket. The messages stay on the queue until then; a command stops at
    once. An error about a single object proves no such thing: see `stores/availability.py`.
    """


class StoreUnavailable(StoreUnusable):
    """The store serves no request at the moment: it does not respond, or it is too busy. Waiting may help."""


class Permanent(SyncError):
    """Will fail on every attempt: the message goes to the dead-letter queue with its reason."""


#: The code of a read of an archived object.
ARCHIVED_CODE = "InvalidObjectState"


class Archived(Permanent):
    """The object is in an archive, so that it cannot be read until it is restored.

    A store that refuses the read has only the code: see ARCHIVED_CODE.
    """

    archive: Archive

    @classmethod
    def of(cls, archive: Archive) -> Archived:
        """Return the error for an object of this archive."""
        place = f"the object is in {archive.storage_class} and cannot be read"
        error = cls(f"{place}: restore it, then copy it again", ARCHIVED_CODE)
        error.archive = archive
        return error


def unnameable() -> Permanent:
    """Return the error for a key that no request can name: see `model.is_nameable`."""
    return Permanent("the key has bytes that are not UTF-8: no request can name it", "KeyNotUtf8")


class Refused(Permanent):
    """The store refused the request, and the code does not say if it refuses this object or every object.

    Code that can do without the request treats it as Permanent. The driver of the work calls `judged`.
    """

    #: What `stores/rejections.py` knows of that.
    concerns: Literal["unknown", "key", "store"] = "unknown"
    #: True for the codes and statuses with which a store refuses the user and not the content of the request.
    is_denial: bool = False
    #: True if the message comes back even if the rejection concerns one key: a quota may refuse large objects only, and
    #: a temporary redirect ends.
    may_end: bool = False


def judged(error: SyncError) -> SyncError:
    """Return the error to act on: a Refused becomes another kind, and every other error stays as it is.

    If it is unknown what a denial concerns, its message comes back: a dead letter would lose an event for a store that
    refuses every key. A later rejection decides, when the store has served or refused other keys.
    """
    if not isinstance(error, Refused):
        return error
    kind: type[SyncError] = Permanent
    reason = error.reason
    if error.concerns == "store":
        kind, reason = StoreUnusable, f"{reason}. The store refuses each key in this way"
    elif error.may_end or (error.is_denial and error.concerns == "unknown"):
        kind = Retryable
    return kind(reason, error.code, request_id=error.request_id)


#: The store rejected the credentials. A rotated secret explains that, so the secret is read once more.
CREDENTIAL_CODES = frozenset(
    {
        "AccessDenied",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "Forbidden",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnauthorizedAccess",
        "401",
        "403",
    }
)


class _Meaning(NamedTuple):
    """The meaning of an error code: the kind of the error, a text, and the HTTP status of AWS."""

    kind: type[SyncError]
    text: str
    status: int = 400


# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. The response to a HEAD has no body, so its code
# is the HTTP status. `classify` uses the status for codes that are not in the table.
_TABLE = {
    # the object has changed
    "PreconditionFailed": _Meaning(Changed, "the object changed while it was read", 412),
    "412": _Meaning(Changed, "the object changed while it was read"),
    "NoSuchKey": _Meaning(Changed, "the object was deleted while it was read", 404),
    "404": _Meaning(Changed, "the object was deleted while it was read"),
    "InvalidRange": _Meaning(Changed, "the object shrank while it was read", 416),
    "416": _Meaning(Changed, "the object shrank while it was read"),
    "NoSuchUpload": _Meaning(Changed, "the multipart upload is gone: it was completed or aborted elsewhere", 404),
    "ConditionalRequestConflict": _Meaning(Changed, "another write happened at the same time", 409),
    # the store as a whole
    "NoSuchBucket": _Meaning(StoreUnusable, "the bucket does not exist", 404),
    "InvalidAccessKeyId": _Meaning(StoreUnusable, "the access key is unknown to the store", 403),
    "SignatureDoesNotMatch": _Meaning(StoreUnusable, "the secret access key is wrong", 403),
    "ExpiredToken": _Meaning(StoreUnusable, "the credentials have expired"),
    "InvalidToken": _Meaning(StoreUnusable, "the session token is not valid"),
    "TokenRefreshRequired": _Meaning(StoreUnusable, "the credentials have expired"),
    "RequestTimeTooSkewed": _Meaning(StoreUnusable, "the clock of this machine or of the store is wrong", 403),
    "AuthorizationHeaderMalformed": _Meaning(
        StoreUnusable, "the region in the settings is not the region of the bucket"
    ),
    "PermanentRedirect": _Meaning(StoreUnusable, "the bucket is in another region or at another endpoint"),
    "AllAccessDisabled": _Meaning(StoreUnusable, "the account is disabled", 403),
    "AccountProblem": _Meaning(StoreUnusable, "there is a problem with the account", 403),
    "UserSuspended": _Meaning(StoreUnusable, "the user is suspended", 403),
    "301": _Meaning(Refused, "the store redirects the request: the endpoint or the region may be wrong"),
    "302": _Meaning(Refused, "the store redirects the request for a while"),
    "303": _Meaning(Refused, "the store redirects the request for a while"),
    "307": _Meaning(Refused, "the store redirects the request for a while"),
    "308": _Meaning(Refused, "the store redirects the request: the endpoint or the region may be wrong"),
    "TemporaryRedirect": _Meaning(Refused, "the store redirects the request for a while"),
    # temporary
    "BadDigest": _Meaning(Retryable, "the bytes were damaged in transit"),
    "XAmzContentSHA256Mismatch": _Meaning(Retryable, "the bytes were damaged in transit"),
    "IncompleteBody": _Meaning(Transient, "the connection broke"),
    "RequestTimeout": _Meaning(Transient, "the connection was too slow"),
    "InvalidPart": _Meaning(Retryable, "a part is missing from the upload"),
    "InvalidPartOrder": _Meaning(Retryable, "a part is missing from the upload"),
    "OperationAborted": _Meaning(Retryable, "another operation was in progress", 409),
    "BandwidthLimitExceeded": _Meaning(Busy, "the store limits the bandwidth", 503),
    "ServiceUnavailable": _Meaning(Busy, "the store asks to slow down", 503),
    "SlowDown": _Meaning(Busy, "the store asks to slow down", 503),
    "TooManyRequests": _Meaning(Busy, "the store asks to slow down"),
    "TooManyRequestsException": _Meaning(Busy, "the store asks to slow down"),
    "Throttling": _Meaning(Busy, "the store asks to slow down"),
    "ThrottlingException": _Meaning(Busy, "the store asks to slow down"),
    "RequestLimitExceeded": _Meaning(Busy, "the store asks to slow down"),
    # permanent
    "AccessDenied": _Meaning(Refused, "access denied", 403),
    "403": _Meaning(Refused, "access denied", 403),
    "QuotaExceeded": _Meaning(Refused, "the quota is used up", 403),
    ARCHIVED_CODE: _Meaning(Permanent, "the object is archived and must be restored first", 403),
    "GlacierExpeditedRetrievalNotAvailable": _Meaning(
        Permanent, "no expedited restores at the moment: use another tier"
    ),
    "EntityTooLarge": _Meaning(Permanent, "the object is larger than the store accepts"),
    "KeyTooLongError": _Meaning(Permanent, "the key is longer than the store accepts"),
    "MetadataTooLarge": _Meaning(Permanent, "the user metadata is larger than the store accepts"),
    "NotImplemented": _Meaning(Permanent, "the store cannot do this", 501),
    "MethodNotAllowed": _Meaning(Permanent, "the store does not allow this", 405),
}


#: The codes for a signature that does not fit its request. A store or a proxy that changes a path or a header causes
#: them for the objects concerned; a wrong secret key causes them for every request.
SIGNATURE_CODES = frozenset({"AuthorizationHeaderMalformed", "SignatureDoesNotMatch"})


#: The statuses with which a store asks to slow down. The second is also the SlowDown of AWS: the response to a HEAD has
#: no code but its status.
BUSY_STATUSES = frozenset({429, 503})

#: The codes of this project for a request without a response.
LOST_CODES = frozenset({"ConnectionBroke", "NoResponse"})

#: The codes of a policy, which may deny some keys or all. A response to a HEAD has the second.
POLICY_CODES = frozenset({"AccessDenied", "403"})

#: The codes with which a store may refuse one object, although they are about the store. A proxy may redirect one kind
#: of request, or one path. A policy may deny some keys.
ONE_OBJECT_CODES = SIGNATURE_CODES | POLICY_CODES | {"PermanentRedirect"}

#: Statuses with which a store refuses the user, or the address, and not the content of the request. A 404 with an
#: unknown code may mean the bucket. https://www.rfc-editor.org/rfc/rfc9110#section-15
_DENIALS = frozenset({301, 302, 303, 307, 308, 401, 402, 403, 404})

_TEMPORARY_REDIRECTS = frozenset({302, 303, 307})

#: Part of the message about an object that a retention or a legal hold protects. Its code is that of a policy.
_OBJECT_LOCK = "object lock"

#: Part of each code that names a quota. Stores have different codes.
_QUOTA = "Quota"


#: The code of a 404 that does not say what is missing.
NO_ERROR_CODE = "NoErrorCode"


def is_vague_404(error: SyncError) -> bool:
    """Return True for a 404 that does not say if the key or something else is missing.

    A web server or a proxy responds so, and a store that has other codes.
    """
    return error.status == 404 and status_of(error.code) != 404


def unexpected_failure(error: BaseException) -> Retryable:
    """Return the error for an exception that a defect of this program or a malformed response causes."""
    return Retryable(f"unexpected failure: {error!r}")


def classify(code: str, status: int, message: str) -> SyncError:
    """Return the error to raise for an error response; the HTTP status decides about an unknown code."""
    is_redirect = code not in _TABLE and 300 <= status < 400
    found = _TABLE.get(str(status) if is_redirect else code)
    kind, meaning = (found.kind, found.text) if found else (None, "")
    if status == 403 and _OBJECT_LOCK in message.lower():  # so certainly about this object, not the bucket
        kind, meaning = Permanent, "an Object Lock protects the object until its retention or legal hold ends"
    if kind is None:
        kind = _kind_by_status(status)
        meaning = message or f"status {status}"
    elif message and message != code:
        meaning = f"{meaning} ({message})"
    error = kind(f"{code}: {meaning}" if code else meaning, code)
    if isinstance(error, Refused):
        is_quota = _QUOTA in code
        error.may_end = is_quota or status in _TEMPORARY_REDIRECTS
        error.is_denial = is_quota or status in _DENIALS
    error.status = status
    return error


#: The beginnings of codes for what is wrong with a request.
_WRONG_REQUEST = (
    "Bad",
    "EntityToo",
    "Illegal",
    "Invalid",
    "KeyToo",
    "Malformed",
    "MetadataToo",
    "Missing",
    "Unsupported",
)


def status_of(code: str) -> int:
    """Return the status for the code of an error document that came with status 200.

    A completion of an upload begins its response before it has succeeded. An unknown code may be temporary: it is 500.
    """
    if (found := _TABLE.get(code)) is not None:
        return max(found.status, 500) if issubclass(found.kind, Transient) else found.status
    return 400 if code.startswith(_WRONG_REQUEST) else 500


def _kind_by_status(status: int) -> type[SyncError]:
    """Return the kind of an error with an unknown code.

    A client error is permanent, and the dead-letter queue shows it to an operator at once: the same request would get
    the same response. It is temporary if the request is correct, and only came at the wrong time: timeout (408),
    conflict with another request (409), too early (425), too many requests (429). A condition (412) or a range (416)
    that does not hold means another object, under whatever code. A redirect is refused too: to follow it, the request
    would need another signature. Every other status may be temporary.
    """
    if status in BUSY_STATUSES:
        return Busy
    if status in (412, 416):  # as under their usual codes, which some stores name otherwise
        return Changed
    if status in (408, 425) or 500 <= status < 600:
        return Transient
    return Refused if 300 <= status < 500 and status != 409 else Retryable
