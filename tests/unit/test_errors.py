"""The kinds of error responses. A wrong row here loses events, or retries for ever."""

from __future__ import annotations

import pytest

from s3_syncer.core.errors import (
    CREDENTIAL_CODES,
    Busy,
    Changed,
    Permanent,
    Refused,
    Retryable,
    StoreUnavailable,
    StoreUnusable,
    SyncError,
    Transient,
    classify,
    judged,
    status_of,
)

MEANINGS: dict[type[SyncError], list[tuple[str, int]]] = {
    Changed: [
        ("PreconditionFailed", 412),
        ("412", 412),
        ("NoSuchKey", 404),
        ("404", 404),
        ("InvalidRange", 416),
        ("416", 416),
        ("NoSuchUpload", 404),
        ("ConditionalRequestConflict", 409),
        ("Whatever", 412),
        ("Whatever", 416),
    ],
    StoreUnusable: [
        ("NoSuchBucket", 404),
        ("InvalidAccessKeyId", 403),
        ("SignatureDoesNotMatch", 403),
        ("ExpiredToken", 400),
        ("InvalidToken", 400),
        ("RequestTimeTooSkewed", 403),
        ("AuthorizationHeaderMalformed", 400),
        ("PermanentRedirect", 301),
        ("UserSuspended", 403),
    ],
    Busy: [
        ("SlowDown", 503),
        ("503", 503),
        ("ServiceUnavailable", 503),
        ("Throttling", 400),
        ("RequestLimitExceeded", 400),
        ("TooManyRequests", 400),
        ("Whatever", 429),
    ],
    Transient: [
        ("500", 500),
        ("InternalError", 500),
        ("RequestTimeout", 400),
        ("IncompleteBody", 400),
        # unknown codes: temporary by their status
        ("Whatever", 500),
        ("Whatever", 408),
        ("Whatever", 425),
    ],
    Retryable: [
        ("BadDigest", 400),
        ("OperationAborted", 409),
        ("Whatever", 409),
        ("", 0),
    ],
    Refused: [
        ("301", 301),
        ("MovedPermanently", 301),
        ("TemporaryRedirect", 307),
        ("NoSuchObject", 404),
        ("AccessDenied", 403),
        ("403", 403),
        ("QuotaExceeded", 403),
        # unknown codes: refusals by their status
        ("Whatever", 403),
        ("Whatever", 400),
        ("InvalidRequest", 400),
        ("XMinioInvalidObjectName", 400),
    ],
    Permanent: [
        ("InvalidObjectState", 403),
        ("EntityTooLarge", 400),
        ("KeyTooLongError", 400),
        ("MetadataTooLarge", 400),
        ("NotImplemented", 501),
        ("MethodNotAllowed", 405),
    ],
}


@pytest.mark.parametrize(
    ("kind", "code", "status"), [(kind, code, status) for kind, rows in MEANINGS.items() for code, status in rows]
)
def test_an_error_response_has_a_kind_and_a_reason(kind: type[SyncError], code: str, status: int) -> None:
    error = classify(code, status, "")
    assert type(error) is kind
    assert error.code == (code or kind.__name__)


def test_only_a_permanent_error_is_not_retried() -> None:
    assert issubclass(Changed, Retryable)
    assert issubclass(Transient, Retryable)
    assert issubclass(StoreUnusable, Retryable)
    assert not issubclass(Permanent, Retryable)


def test_a_store_that_waiting_may_mend_is_still_unusable_until_then() -> None:
    assert issubclass(Busy, Transient)
    assert issubclass(StoreUnavailable, StoreUnusable)
    assert not issubclass(StoreUnavailable, Transient)


def test_the_message_has_the_code_its_meaning_and_the_text_of_the_store() -> None:
    assert str(classify("SlowDown", 503, "")) == "SlowDown: the store asks to slow down"
    assert str(classify("SlowDown", 503, "Reduce your rate")) == (
        "SlowDown: the store asks to slow down (Reduce your rate)"
    )
    assert str(classify("Whatever", 400, "You cannot")) == "Whatever: You cannot"
    assert str(classify("Whatever", 400, "")) == "Whatever: status 400"
    assert str(classify("", 502, "")) == "status 502"


def test_a_numeric_code_is_not_repeated() -> None:
    assert str(classify("412", 412, "412")) == "412: the object changed while it was read"


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403"])
def test_a_rejection_that_a_rotated_secret_explains_is_a_credential_code(code: str) -> None:
    assert code in CREDENTIAL_CODES


@pytest.mark.parametrize("code", ["NoSuchKey", "404", "NoSuchBucket", "SlowDown", "InvalidObjectState", "412"])
def test_other_rejections_are_no_credential_codes(code: str) -> None:
    assert code not in CREDENTIAL_CODES


def test_only_the_text_for_people_has_the_request_id() -> None:
    error = Retryable("busy", "SlowDown", request_id="4K2")
    assert (str(error), error.reason) == ("busy, request ID 4K2", "busy")
    plain = Retryable("busy", "SlowDown")
    assert (str(plain), plain.reason, plain.request_id) == ("busy", "busy", "")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AccessDenied", 403),
        ("NoSuchUpload", 404),
        ("PreconditionFailed", 412),
        ("EntityTooLarge", 400),
        ("EntityTooSmall", 400),
        ("InvalidPart", 400),
        ("MalformedXML", 400),
        ("SlowDown", 503),
        ("InternalError", 500),
        ("Whatever", 500),
        ("", 500),
    ],
)
def test_an_error_document_with_status_200_gets_the_status_of_its_code(code: str, status: int) -> None:
    assert status_of(code) == status


@pytest.mark.parametrize(("status", "comes_back"), [(301, False), (307, True), (404, False)])
def test_a_temporary_redirect_of_one_key_comes_back(status: int, comes_back: bool) -> None:
    error = classify("Whatever", status, "")
    assert isinstance(error, Refused)
    assert isinstance(judged(error), Retryable), "it is unknown if it concerns the store"
    error.concerns = "key"
    assert isinstance(judged(error), Retryable) == comes_back
