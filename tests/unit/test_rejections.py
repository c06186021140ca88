"""Rejections of one key, and of every key of a store."""

from __future__ import annotations

import pytest

from s3_syncer.core.errors import Permanent, Refused, Retryable, StoreUnusable, SyncError, classify, judged
from s3_syncer.stores.availability import Availability
from s3_syncer.stores.rejections import FIRST_RUN, LONG_RUN, MAX_KEYS, REMEMBER_S, Rejections

DENIED = ("AccessDenied", 403)
UNKNOWN = ("SecondLevelDomainForbidden", 403)
QUOTA = ("QuotaExceeded", 403)
INVALID = ("InvalidRequest", 400)


class Store:
    """The requests to a store, with the errors that their callers get."""

    def __init__(self) -> None:
        self._availability = Availability(lambda: None)

    def refuse(self, key: str, code: tuple[str, int] = DENIED, operation: str = "put_object") -> SyncError:
        def send() -> None:
            raise classify(*code, "")

        with pytest.raises(SyncError) as failure:
            self._availability.request(send, operation, key)
        return judged(failure.value)

    def note(self, operation: str = "put_object") -> None:
        self._availability.note_success(operation)

    def serve(self, key: str = "served", operation: str = "put_object") -> None:
        self._availability.request(lambda: None, operation, key)


def test_the_first_denial_of_a_process_comes_back() -> None:
    assert type(Store().refuse("a")) is Retryable


def test_a_key_that_is_denied_before_and_after_a_success_is_the_keys_own() -> None:
    store = Store()
    store.refuse("a")
    store.serve()
    assert type(store.refuse("a")) is Permanent


def test_a_success_before_the_first_rejection_proves_nothing() -> None:
    store = Store()
    store.serve()
    assert type(store.refuse("a")) is Retryable, "the quota may have been reached since then"
    assert type(store.refuse("a")) is Retryable


def test_a_success_that_began_before_the_first_rejection_proves_nothing() -> None:
    store = Store()

    def refuse_another() -> None:
        store.refuse("a")  # while this request is on its way, the store begins to refuse

    store._availability.request(refuse_another, "put_object", "b")
    assert type(store.refuse("a")) is Retryable
    store.serve("c")
    assert type(store.refuse("a")) is Permanent


def test_a_store_that_never_served_a_key_refuses_all_keys() -> None:
    store = Store()
    found = [type(store.refuse(f"key {number}", UNKNOWN)) for number in range(FIRST_RUN + 1)]
    assert found == [Retryable] * (FIRST_RUN - 1) + [StoreUnusable] * 2


def test_a_key_that_another_client_was_served_counts() -> None:
    store = Store()
    store.note()
    assert {type(store.refuse(str(number))) for number in range(FIRST_RUN)} == {Retryable}


def test_one_key_that_comes_again_and_again_is_not_the_store() -> None:
    store = Store()
    assert {type(store.refuse("a")) for _ in range(2 * LONG_RUN)} == {Retryable}


def test_a_store_that_served_keys_needs_a_longer_run() -> None:
    store = Store()
    store.serve()
    found = [type(store.refuse(f"key {number}", QUOTA)) for number in range(LONG_RUN)]
    assert found == [Retryable] * (LONG_RUN - 1) + [StoreUnusable]
    store.serve()
    assert type(store.refuse("another", QUOTA)) is Retryable


def test_codes_do_not_add_up() -> None:
    store = Store()
    for number in range(2 * FIRST_RUN - 2):
        assert type(store.refuse(f"key {number}", (UNKNOWN, DENIED)[number % 2])) is Retryable


def test_each_kind_of_request_has_its_own_evidence() -> None:
    store = Store()
    store.refuse("a", QUOTA)
    for _ in range(3):
        store.serve(operation="delete_object")
        store.serve(operation="head_object")
    assert type(store.refuse("a", QUOTA)) is Retryable
    assert type(store.refuse("b", QUOTA, "upload_part")) is Retryable
    assert type(store.refuse("c", QUOTA, "create_multipart_upload")) is StoreUnusable, "parts are writes, too"


def test_a_part_that_is_denied_again_and_again_is_the_keys_own() -> None:
    """The upload is created, and other parts are served, before each rejection."""
    store, found = Store(), []
    for _ in range(2):
        store.serve("a", "create_multipart_upload")
        store.serve("a", "upload_part")
        found.append(type(store.refuse("a", DENIED, "upload_part")))
    assert found == [Retryable, Permanent]


def test_the_creation_of_an_upload_does_not_show_that_the_store_takes_bytes() -> None:
    store, found = Store(), []
    for number in range(FIRST_RUN):
        store.serve(f"key {number}", "create_multipart_upload")
        found.append(type(store.refuse(f"key {number}", UNKNOWN, "upload_part")))
    assert found == [Retryable] * (FIRST_RUN - 1) + [StoreUnusable]


def test_an_object_whose_bytes_are_denied_is_the_keys_own_only_if_other_bytes_are_served() -> None:
    """HEAD needs no KMS key, and GET does."""
    store = Store()
    for _ in range(2):
        store.serve("a", "head_object")
        assert type(store.refuse("a", DENIED, "get_object")) is Retryable
    store.serve("b", "get_object")
    store.serve("a", "head_object")
    assert type(store.refuse("a", DENIED, "get_object")) is Permanent


def test_a_quota_is_never_the_keys_own() -> None:
    store = Store()
    store.refuse("large", QUOTA)
    store.serve("small")
    assert type(store.refuse("large", QUOTA)) is Retryable


def test_an_unknown_error_of_the_content_is_permanent_unless_every_key_has_it() -> None:
    store = Store()
    found = [type(store.refuse(f"key {number}", INVALID)) for number in range(FIRST_RUN)]
    assert found == [Permanent] * (FIRST_RUN - 1) + [StoreUnusable]
    store.serve()
    assert {type(store.refuse(f"key {number}", INVALID)) for number in range(2 * LONG_RUN)} == {Permanent}


def test_a_wrong_signature_of_one_key_is_the_keys_own() -> None:
    # The request about the bucket succeeds, so the secret key is right.
    store = Store()
    signature = ("SignatureDoesNotMatch", 403)
    assert type(store.refuse("a", signature)) is Retryable
    store.serve()
    assert type(store.refuse("a", signature)) is Permanent


def test_an_error_that_names_the_object_is_permanent_at_once() -> None:
    for code in (("EntityTooLarge", 400), ("InvalidObjectState", 403), ("NotImplemented", 501)):
        assert type(Store().refuse("a", code)) is Permanent


def test_the_error_keeps_its_code_and_its_request_id() -> None:
    error = classify(*DENIED, "no")
    error.request_id = "4K2"
    found = judged(error)
    assert (found.code, found.request_id) == ("AccessDenied", "4K2")
    assert isinstance(error, Refused)
    error.concerns = "store"
    assert "refuses each key" in judged(error).reason


def test_an_old_rejection_does_not_count() -> None:
    """A store may have refused all keys then, and now again."""
    rejections, concerns = Rejections(), []
    for now in (0.0, REMEMBER_S + 1, REMEMBER_S + 2):
        error = Refused("", "AccessDenied")
        rejections.judge("put_object", "a", error, now)
        concerns.append(error.concerns)
        rejections.note_success("put_object", began=rejections.mark())
    assert concerns == ["unknown", "unknown", "key"]


def test_the_memory_is_bounded() -> None:
    rejections = Rejections()
    for number in range(MAX_KEYS + 10):
        rejections.judge("put_object", f"key {number}", Refused("", "AccessDenied"), 0.0)
    kind = rejections._kind("put_object")
    assert len(kind.refused) == MAX_KEYS
    assert len(kind.run["AccessDenied"]) <= LONG_RUN
