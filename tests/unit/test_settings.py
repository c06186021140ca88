"""The environment, read once: every mistake named at once, and no secret shown."""

from __future__ import annotations

from itertools import combinations

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from s3_syncer.core.filters import Filters
from s3_syncer.core.units import MIB
from s3_syncer.settings import (
    SMALLEST_BUDGET,
    Credentials,
    DeletionQueues,
    Settings,
    copy_memory,
    function_settings,
)
from s3_syncer.settings_reader import SettingsError

REQUIRED = {
    "SOURCE_BUCKET": "photos",
    "TARGET_ENDPOINT": "https://s3.example.com",
    "TARGET_REGION": "eu-1",
    "TARGET_BUCKET": "photos-copy",
    "TARGET_SECRET_ARN": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:s3-syncer",
    "QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/111122223333/s3-syncer",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/111122223333/s3-syncer-dead-letters",
}


def mistakes(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as refusal:
        function_settings({**REQUIRED, **environment})
    return str(refusal.value).split("; ")


def test_the_required_variables_are_enough() -> None:
    settings = function_settings(REQUIRED)
    assert settings == Settings(
        source_bucket="photos",
        target_endpoint="https://s3.example.com",
        target_region="eu-1",
        target_bucket="photos-copy",
        target_credentials=REQUIRED["TARGET_SECRET_ARN"],
        queue_url=REQUIRED["QUEUE_URL"],
        dead_letter_queue_url=REQUIRED["DEAD_LETTER_QUEUE_URL"],
        copy_memory=settings.copy_memory,
    )
    assert settings.delete
    assert settings.tags


def test_everything_can_be_set() -> None:
    settings = function_settings(
        {
            **REQUIRED,
            "SOURCE_PREFIX": "2026/ ",
            "TARGET_PREFIX": "copies/",
            "SYNC_DELETE": "false",
            "SYNC_TAGS": "False",
            "LOG_LEVEL": "debug",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "2048",
        }
    )
    assert settings.source_prefix == "2026/ ", "a space is an ordinary character of a key"
    assert settings.target_prefix == "copies/"
    assert not settings.delete
    assert not settings.tags
    assert settings.log_level == "DEBUG"
    assert settings.copy_memory == copy_memory(2048)


def test_one_error_names_every_mistake() -> None:
    with pytest.raises(SettingsError) as refusal:
        function_settings({"SYNC_DELETE": "maybe", "LOG_LEVEL": "loud"})
    assert str(refusal.value).split("; ") == [
        "SOURCE_BUCKET is not set",
        "TARGET_ENDPOINT is not set",
        "TARGET_REGION is not set",
        "TARGET_BUCKET is not set",
        "TARGET_SECRET_ARN is not set",
        "QUEUE_URL is not set",
        "DEAD_LETTER_QUEUE_URL is not set",
        "SYNC_DELETE must be true or false, not 'maybe'",
        "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, not 'loud'",
    ]


QUEUES_OF_DELETIONS = {"DELETIONS_QUEUE_URL": "https://deletions", "HELD_DELETIONS_QUEUE_URL": "https://held"}


@pytest.mark.parametrize(("limit", "hold_above"), [({"HOLD_DELETIONS_ABOVE": "3"}, 3), ({}, None)])
def test_the_queues_of_the_deletions_come_with_their_limit(limit: dict[str, str], hold_above: int | None) -> None:
    settings = function_settings({**REQUIRED, **QUEUES_OF_DELETIONS, **limit})
    assert settings.deletion_queues == DeletionQueues("https://deletions", "https://held", hold_above)


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"DELETIONS_QUEUE_URL": ""}, "DELETIONS_QUEUE_URL is not set"),
        ({"HELD_DELETIONS_QUEUE_URL": ""}, "HELD_DELETIONS_QUEUE_URL is not set"),
        ({"HOLD_DELETIONS_ABOVE": "0"}, "HOLD_DELETIONS_ABOVE must be a whole number above 0, not '0'"),
        ({"HOLD_DELETIONS_ABOVE": "many"}, "HOLD_DELETIONS_ABOVE must be a whole number above 0, not 'many'"),
    ],
)
def test_half_of_a_delete_guard_is_a_mistake(changes: dict[str, str], mistake: str) -> None:
    assert mistakes(**{**QUEUES_OF_DELETIONS, **changes}) == [mistake]


@pytest.mark.parametrize("value", ["", "  ", "\t"])
def test_a_blank_variable_counts_as_not_set(value: str) -> None:
    assert mistakes(TARGET_REGION=value) == ["TARGET_REGION is not set"]


@pytest.mark.parametrize(
    ("endpoint", "kept"),
    [
        ("https://s3.example.com", "https://s3.example.com"),
        ("https://s3.example.com/", "https://s3.example.com"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("https://[::1]:9000", "https://[::1]:9000"),
        ("https://project.example.com/storage/v1/s3", "https://project.example.com/storage/v1/s3"),
        ("https://project.example.com/storage/v1/s3/", "https://project.example.com/storage/v1/s3"),
        ("https://photos-copy", "https://photos-copy"),
    ],
)
def test_an_endpoint_is_a_url_up_to_the_path(endpoint: str, kept: str) -> None:
    assert function_settings({**REQUIRED, "TARGET_ENDPOINT": endpoint}).target_endpoint == kept


@pytest.mark.parametrize(
    ("endpoint", "mistake"),
    [
        ("s3.example.com", "must be a URL such as https://s3.example.com, not 's3.example.com'"),
        ("ftp://s3.example.com", "must be a URL such as https://s3.example.com, not 'ftp://s3.example.com'"),
        ("https://", "must be a URL such as https://s3.example.com, not 'https:'"),
        ("https://s3.example.com:many", "must be a URL such as https://s3.example.com, not"),
        ("https://[s3.example.com", "must be a URL such as https://s3.example.com, not"),
        ("https://s3 .example.com", "must be a URL such as https://s3.example.com, not"),
        ("https://s3.exämple.com", "must be a URL such as https://s3.example.com, not"),
        ("https://s3.example.com/photos-copy", "must not contain the bucket: write https://s3.example.com"),
        ("https://s3.example.com/v1/photos-copy/", "must not contain the bucket: write https://s3.example.com/v1"),
        ("https://s3.example.com?x=1", "must end after the path: write https://s3.example.com"),
        ("https://s3.example.com/v1?x=1", "must end after the path: write https://s3.example.com/v1"),
        ("https://s3.example.com#x", "must end after the path: write https://s3.example.com"),
        ("https://me@s3.example.com", "must not carry credentials"),
    ],
)
def test_the_error_for_an_invalid_endpoint_says_what_to_write(endpoint: str, mistake: str) -> None:
    (said,) = mistakes(TARGET_ENDPOINT=endpoint)
    assert said.startswith(f"TARGET_ENDPOINT {mistake}")


@pytest.mark.parametrize("scheme", ["https", "ftp"])
@pytest.mark.parametrize("path", ["", "/bucket"])
def test_credentials_in_an_endpoint_are_rejected_and_not_printed(scheme: str, path: str) -> None:
    assert mistakes(TARGET_ENDPOINT=f"{scheme}://me:hush@s3.example.com{path}") == [
        "TARGET_ENDPOINT must not carry credentials"
    ]


QUEUES = ["QUEUE_URL", "BULK_QUEUE_URL", "DELETIONS_QUEUE_URL", "HELD_DELETIONS_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"]


@pytest.mark.parametrize(("name", "other"), list(combinations(QUEUES, 2)))
def test_a_worker_that_would_send_messages_to_itself_is_a_mistake(name: str, other: str) -> None:
    urls = {each: f"https://sqs.example.com/{each}" for each in QUEUES}
    assert mistakes(**{**urls, other: f" {urls[name]}"}) == [f"{other} must differ from {name}"]


@pytest.mark.parametrize("name", ["SOURCE_PREFIX", "TARGET_PREFIX"])
def test_a_prefix_that_no_request_can_name_is_a_mistake(name: str) -> None:
    assert mistakes(**{name: "a\udcff/"}) == [f"{name} must be UTF-8, not 'a\\udcff/'"]


def test_a_slash_at_the_start_of_a_prefix_is_a_part_of_the_keys() -> None:
    settings = function_settings({**REQUIRED, "SOURCE_PREFIX": "/cur/", "TARGET_PREFIX": "//"})
    assert (settings.source_prefix, settings.target_prefix) == ("/cur/", "//")


@pytest.mark.parametrize("variable", ["SOURCE_BUCKET", "TARGET_BUCKET"])
@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("logs--usw2-az1--x-s3", "names a directory bucket"),
        ("logs--usw2-az1--xa-s3", "names a directory bucket"),
        ("0a1b2c3d--table-s3", "names the bucket of an S3 table"),
        ("ap-0123456789abcdef-s3alias", "names an access point"),
        ("fs-0123456789abcdef-ext-s3alias", "names an access point"),
        ("ap-0123456789abcdef--ol-s3", "names an access point"),
        ("mfzwi23gnjvgw.mrap", "names an access point"),
        ("arn:aws:s3:eu-west-1:111122223333:accesspoint/ap", "names an access point"),
        ("arn:aws:s3-object-lambda:eu-west-1:111122223333:accesspoint/ap", "names an access point"),
        ("arn:aws:s3:::photos", "is an ARN: write the name of the bucket"),
        ("s3://photos", "is not the name of a bucket"),
        ("photos/2026", "is not the name of a bucket"),
    ],
)
def test_the_error_for_a_name_that_is_no_bucket_says_why(variable: str, name: str, mistake: str) -> None:
    (said,) = mistakes(**{variable: name})
    assert said.startswith(f"{variable} {mistake}")


@pytest.mark.parametrize(
    "name", ["photos", "Photos_2026", "my.photos", "x-s3", "photos-x-s3", "logs-123456789012-eu-west-1-an"]
)
def test_every_other_name_of_a_bucket_is_allowed(name: str) -> None:
    assert function_settings({**REQUIRED, "SOURCE_BUCKET": name}).source_bucket == name


def test_ca_certificates_are_text_in_pem() -> None:
    pem = trustme.CA().cert_pem.bytes().decode()
    settings = function_settings({**REQUIRED, "TARGET_CA_CERTIFICATE": pem})
    assert settings.target_requests.ca_certificate == pem.strip()


@pytest.mark.parametrize(
    ("value", "mistake"),
    [
        ("/etc/ssl/ca.pem", "must have certificates in PEM"),
        ("-----BEGIN CERTIFICATE-----\nä\n-----END CERTIFICATE-----", "must have certificates in PEM"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "must have certificates in PEM"),
        (trustme.CA().private_key_pem.bytes().decode(), "must not contain a private key"),
    ],
    ids=["path", "not ASCII", "cut", "private key"],
)
def test_the_error_for_invalid_certificates_does_not_repeat_them(value: str, mistake: str) -> None:
    (said,) = mistakes(TARGET_CA_CERTIFICATE=value)
    assert said.startswith(f"TARGET_CA_CERTIFICATE {mistake}")
    assert value not in said


@pytest.mark.parametrize(
    ("variables", "mistake"),
    [
        ({"TARGET_STORAGE_CLASS": "COLD STORE"}, "TARGET_STORAGE_CLASS must have letters, digits and punctuation"),
        ({"TARGET_ACL": "open"}, "TARGET_ACL must be one of private, public-read"),
        ({"TARGET_SERVER_SIDE_ENCRYPTION": "rot13"}, "TARGET_SERVER_SIDE_ENCRYPTION must be one of AES256, aws:kms"),
        ({"TARGET_SSE_KMS_KEY_ID": "k"}, "TARGET_SSE_KMS_KEY_ID needs TARGET_SERVER_SIDE_ENCRYPTION aws:kms"),
        (
            {"TARGET_SSE_KMS_KEY_ID": "k", "TARGET_SERVER_SIDE_ENCRYPTION": "AES256"},
            "TARGET_SSE_KMS_KEY_ID needs TARGET_SERVER_SIDE_ENCRYPTION aws:kms",
        ),
        ({"TARGET_MAX_PART_MB": "5"}, "TARGET_MAX_PART_MB must be above TARGET_MIN_PART_MB"),
        ({"TARGET_MAX_PARTS": "0"}, "TARGET_MAX_PARTS must be a whole number above 0, not '0'"),
        ({"TARGET_ADDRESSING_STYLE": "auto"}, "TARGET_ADDRESSING_STYLE must be one of path, virtual, not 'auto'"),
    ],
)
def test_the_error_for_an_invalid_option_of_the_target_says_what_to_write(
    variables: dict[str, str], mistake: str
) -> None:
    (said,) = mistakes(**variables)
    assert said.startswith(mistake)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "much"])
def test_memory_is_a_whole_number(value: str) -> None:
    assert mistakes(AWS_LAMBDA_FUNCTION_MEMORY_SIZE=value) == [
        f"AWS_LAMBDA_FUNCTION_MEMORY_SIZE must be a whole number above 0, not '{value}'"
    ]


@given(st.integers(1, 10_240))
def test_copies_get_the_memory_above_the_baseline_and_at_least_two_parts(memory_mb: int) -> None:
    budget = copy_memory(memory_mb)
    assert budget >= SMALLEST_BUDGET
    assert budget == SMALLEST_BUDGET or budget < memory_mb * MIB * 4 // 5


def test_the_repr_of_credentials_hides_the_secret() -> None:
    settings = Settings(
        source_bucket="photos",
        target_endpoint="https://s3.example.com",
        target_region="eu-1",
        target_bucket="photos-copy",
        target_credentials=Credentials("key-id", "hush"),
    )
    for shown in (repr(settings), str(settings), f"{settings.target_credentials}"):
        assert "key-id" in shown
        assert "hush" not in shown


def test_filters_are_read_as_the_options_of_the_command() -> None:
    environment = {
        "S3_SYNCER_INCLUDE": "*.jpg\r\n\n a, b\u2028c \n",
        "S3_SYNCER_EXCLUDE": "*.tmp",
        "S3_SYNCER_MIN_SIZE": "1",
        "S3_SYNCER_MAX_SIZE": "1.5M",
    }
    filters = function_settings({**REQUIRED, **environment}).filters
    assert filters == Filters.of(["*.jpg", " a, b\u2028c "], ["*.tmp"], 1024, 3 * 512 * 1024)


def test_every_mistake_in_the_filters_is_named() -> None:
    found = mistakes(S3_SYNCER_EXCLUDE="a[", S3_SYNCER_MIN_SIZE="1KB", S3_SYNCER_MAX_SIZE="many")
    assert len(found) == 3
    assert found[0].startswith("S3_SYNCER_MIN_SIZE: '1KB' is not a size: write ")
    assert found[1].startswith("S3_SYNCER_MAX_SIZE: 'many' is not a size: write ")
    assert found[2].startswith("invalid filter: 'a[': '[' has no ']'")
