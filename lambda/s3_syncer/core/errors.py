"""Retryable or Permanent: the two kinds of failure that matter, and one table from store codes to them.

Pure: `bucket.py` turns what boto3 raises into a code and a status and asks here.
"""

from __future__ import annotations


class SyncError(Exception):
    """A failure with its cause: `code` is the error code of the store, or a name of this project.

    `request_id` names the failed request in the logs of the store; it is empty if there was no response.
    """

    def __init__(self, message: str, code: str = "", *, request_id: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).__name__
        self.request_id = request_id

    @property
    def reason(self) -> str:
        """Return the message without the request ID, so that equal failures have equal reasons in the log."""
        return super().__str__()

    def __str__(self) -> str:
        """Return the message for people, with the request ID."""
        return f"{self.reason}, request ID {self.request_id}" if self.request_id else self.reason


class Retryable(SyncError):
    """May work later: goes back to the queue."""


class Changed(Retryable):
    """The object is no longer what was looked at: look again, at once."""


class StoreUnusable(Retryable):
    """Nothing in this store can work until somebody mends it: wrong credentials, no such bucket, no answer.

    A queue keeps its messages for the mending; a command stops at once.
    """


class Permanent(SyncError):
    """Will not work however often it is tried: goes to the dead-letter queue with its reason."""


#: The credentials were refused, which a rotated secret explains: worth one fresh read of the secret.
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

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; numeric codes are what a HEAD, which has no
# body, leaves of them. Codes that are not here are judged by their status, see `classify`.
_TABLE: dict[str, tuple[type[SyncError], str]] = {
    # the object moved on
    "PreconditionFailed": (Changed, "the object changed while it was read"),
    "412": (Changed, "the object changed while it was read"),
    "NoSuchKey": (Changed, "the object went away while it was read"),
    "404": (Changed, "the object went away while it was read"),
    "InvalidRange": (Changed, "the object shrank while it was read"),
    "416": (Changed, "the object shrank while it was read"),
    "NoSuchUpload": (Changed, "the multipart upload is gone: it was completed or aborted elsewhere"),
    "ConditionalRequestConflict": (Changed, "another write got in between"),
    # the store as a whole
    "NoSuchBucket": (StoreUnusable, "the bucket does not exist"),
    "InvalidAccessKeyId": (StoreUnusable, "the access key is unknown to the store"),
    "SignatureDoesNotMatch": (StoreUnusable, "the secret access key is wrong"),
    "ExpiredToken": (StoreUnusable, "the credentials have expired"),
    "InvalidToken": (StoreUnusable, "the session token is not valid"),
    "TokenRefreshRequired": (StoreUnusable, "the credentials have expired"),
    "RequestTimeTooSkewed": (StoreUnusable, "the clock of this machine or of the store is wrong"),
    "AuthorizationHeaderMalformed": (StoreUnusable, "the region in the settings is not the bucket's"),
    "PermanentRedirect": (StoreUnusable, "the bucket lives in another region or at another endpoint"),
    "AllAccessDisabled": (StoreUnusable, "the account is disabled"),
    "AccountProblem": (StoreUnusable, "there is a problem with the account"),
    # not now
    "BadDigest": (Retryable, "the bytes were damaged on the way"),
    "XAmzContentSHA256Mismatch": (Retryable, "the bytes were damaged on the way"),
    "IncompleteBody": (Retryable, "the connection broke"),
    "RequestTimeout": (Retryable, "the connection was too slow"),
    "InvalidPart": (Retryable, "a part is missing from the upload"),
    "InvalidPartOrder": (Retryable, "a part is missing from the upload"),
    "OperationAborted": (Retryable, "another operation was in progress"),
    "BandwidthLimitExceeded": (Retryable, "the store limits the bandwidth"),
    "SlowDown": (Retryable, "the store asks to slow down"),
    "Throttling": (Retryable, "the store asks to slow down"),
    "ThrottlingException": (Retryable, "the store asks to slow down"),
    "RequestLimitExceeded": (Retryable, "the store asks to slow down"),
    # never
    "AccessDenied": (Permanent, "access denied"),
    "403": (Permanent, "access denied"),
    "InvalidObjectState": (Permanent, "the object is archived and must be restored first"),
    "EntityTooLarge": (Permanent, "the object is larger than the store accepts"),
    "KeyTooLongError": (Permanent, "the key is longer than the store accepts"),
    "MetadataTooLarge": (Permanent, "the user metadata is larger than the store accepts"),
    "NotImplemented": (Permanent, "the store cannot do this"),
    "MethodNotAllowed": (Permanent, "the store does not allow this"),
}


def classify(code: str, status: int, message: str) -> SyncError:
    """The error to raise for a store's answer; unknown codes go by their HTTP status.

    A 4xx that nobody knows is Permanent: asking again the same way gets the same answer, and the dead-letter queue
    shows it to a person at once. Everything else (5xx, a redirect, a nonsense status) may pass.
    """
    kind, meaning = _TABLE.get(code, (None, ""))
    if kind is None:
        kind = Permanent if 400 <= status < 500 and status not in (408, 409, 425, 429) else Retryable
        meaning = message or f"status {status}"
    elif message and message != code:
        meaning = f"{meaning} ({message})"
    return kind(f"{code}: {meaning}" if code else meaning, code)
