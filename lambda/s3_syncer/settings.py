"""Read the environment once into one frozen value, and report all mistakes together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from .core.bandwidth_timetable import NO_LIMIT, BandwidthTimetable
from .core.filters import NO_FILTERS, BadFilter, Filters
from .core.multipart import USUAL_LIMITS, Limits
from .core.units import GIB, MIB
from .settings_reader import Reader

#: MiB that the interpreter, boto3 and its two clients take before the first byte is copied, with some room.
#: `scripts/footprint` prints the real figure.
BASELINE_MIB = 160

#: Smallest memory budget for copies in bytes: two parts of the smallest useful size.
SMALLEST_BUDGET = 32 * MIB

AddressingStyle = Literal["auto", "path", "virtual"]
ADDRESSING_STYLES: tuple[AddressingStyle, ...] = ("path", "virtual")
SOURCE_ADDRESSING_STYLES: tuple[AddressingStyle, ...] = ("auto", *ADDRESSING_STYLES)

ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")

#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#canned-acl
ACLS = (
    *("private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read"),
    *("bucket-owner-read", "bucket-owner-full-control"),
)

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


#: S3 denies a request with this header if the bucket does not belong to the account that it names.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
EXPECTED_OWNER_HEADER = "x-amz-expected-bucket-owner"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key of a store. Its repr hides the secret access key."""

    access_key_id: str
    secret_access_key: str = field(repr=False)

    @property
    def can_sign(self) -> bool:
        """Return True if the keys can sign a request. The ID becomes a part of a header, so it must be ASCII."""
        is_text = all(half and half.isprintable() for half in (self.access_key_id, self.secret_access_key))
        return is_text and self.access_key_id.isascii()


def is_session_token(text: str) -> bool:
    """Return True if the text can be a session token, which is a header of each request."""
    return text.isprintable() and text.isascii()


@dataclass(frozen=True, slots=True)
class AwsChain:
    """The credentials that boto3 finds and keeps fresh: those of a profile, or of its default chain."""

    #: The profile of the AWS configuration files; "" for the default chain.
    profile: str = ""
    #: The role to assume with these credentials; "" for none.
    role_arn: str = ""


DEFAULT_CHAIN = AwsChain()


@dataclass(frozen=True, slots=True)
class Connection:
    """The endpoint, the region and the credentials of the source."""

    #: "" for the endpoint that boto3 finds: AWS_ENDPOINT_URL_S3, that of the profile, or that of AWS.
    endpoint: str = ""
    #: "" for the region that boto3 finds.
    region: str = ""
    credentials: Credentials | AwsChain = DEFAULT_CHAIN


#: AWS, as the environment and the profile of the user describe it.
AWS = Connection()


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The properties that the requests to a store have in common, whichever client makes them."""

    #: Place of the bucket in an address: "path", "virtual" for the host, or "auto" for the choice of boto3.
    addressing_style: AddressingStyle = "path"
    #: True signs the hash of each body, also over TLS. Nothing is streamed to such a store: the signature comes first.
    payload_signing: bool = False
    #: The CA certificates to trust in PEM, instead of those that boto3 trusts; "" for those.
    ca_certificate: str = ""
    #: Headers of every request, with names in lower case.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Headers of the requests that create an object, PutObject and CreateMultipartUpload, with names in lower case.
    object_headers: Mapping[str, str] = field(default_factory=dict)


#: The options of a store of which nothing is known.
NO_OPTIONS = RequestOptions()

#: The options of a source of which nothing is known: boto3 finds its addressing style, too.
NO_SOURCE_OPTIONS = RequestOptions(addressing_style="auto")


@dataclass(frozen=True, slots=True)
class RestoreSettings:
    """The settings of a restore from the target to the source."""

    #: Replace the objects of the source that differ.
    overwrite: bool = False
    #: Restore the versions that were current at this moment; None for those that are current now.
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeletionQueues:
    """The queues through which the deletions of live sync go."""

    url: str
    #: The queue of the deletions that wait for a person.
    held_url: str
    #: The number of deletions on both queues above which all are held; None holds none.
    hold_above: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that all drivers share. Sizes are in bytes, times in seconds."""

    source_bucket: str
    target_endpoint: str
    target_region: str
    target_bucket: str
    target_credentials: str | Credentials | AwsChain
    """The ARN or name of the secret with the credentials, or the credentials themselves."""
    source_connection: Connection = AWS
    source_prefix: str = ""
    target_prefix: str = ""
    source_requests: RequestOptions = NO_SOURCE_OPTIONS
    target_requests: RequestOptions = NO_OPTIONS
    target_limits: Limits = USUAL_LIMITS
    #: The keys that are mirrored, relative to the prefixes.
    filters: Filters = NO_FILTERS
    queue_url: str = ""
    #: The queue for the product's own messages. Without it, they go to `queue_url`.
    bulk_queue_url: str = ""
    dead_letter_queue_url: str = ""
    delete: bool = True
    #: None deletes at once.
    deletion_queues: DeletionQueues | None = None
    tags: bool = True
    #: True mirrors the retention and the legal hold of each object.
    object_lock: bool = False
    copy_memory: int = 4 * SMALLEST_BUDGET
    #: Size in bytes above which several workers copy an object, where work comes from a queue.
    distributed_copy_threshold: int = GIB
    bandwidth: BandwidthTimetable = NO_LIMIT
    #: Each HEAD asks for the checksums of the object.
    reads_checksums: bool = False
    log_level: str = "INFO"
    #: The EventBridge bus for events about this work; "" for none.
    event_bus_arn: str = ""


def read_stores(reader: Reader) -> Settings:
    """Return settings with the two buckets that the variables name, and without credentials."""
    return Settings(
        source_bucket=reader.bucket("SOURCE_BUCKET"),
        source_connection=_source_connection(reader),
        source_prefix=reader.prefix("SOURCE_PREFIX"),
        source_requests=_source_requests(reader),
        target_endpoint=reader.endpoint("TARGET_ENDPOINT", bucket=reader.text("TARGET_BUCKET")),
        target_region=reader.required("TARGET_REGION"),
        target_bucket=reader.bucket("TARGET_BUCKET"),
        target_prefix=reader.prefix("TARGET_PREFIX"),
        target_requests=_target_requests(reader),
        target_limits=_target_limits(reader),
        target_credentials="",
    )


def _source_connection(reader: Reader) -> Connection:
    """Return the connection without an access key, which is no setting of the function."""
    return Connection(
        endpoint=reader.endpoint("SOURCE_ENDPOINT", bucket=reader.text("SOURCE_BUCKET"), is_required=False),
        region=reader.text("SOURCE_REGION"),
        credentials=AwsChain(reader.text("SOURCE_PROFILE"), reader.role("SOURCE_ROLE_ARN")),
    )


def _target_requests(reader: Reader) -> RequestOptions:
    return RequestOptions(
        addressing_style=reader.choice("TARGET_ADDRESSING_STYLE", ADDRESSING_STYLES),
        payload_signing=reader.flag("TARGET_PAYLOAD_SIGNING", default=False),
        ca_certificate=reader.certificates("TARGET_CA_CERTIFICATE"),
        object_headers=_object_headers(reader),
    )


def _target_limits(reader: Reader) -> Limits:
    found = Limits(
        max_object=reader.whole("TARGET_MAX_OBJECT_MB", default=USUAL_LIMITS.max_object // MIB) * MIB,
        min_part=reader.whole("TARGET_MIN_PART_MB", default=USUAL_LIMITS.min_part // MIB) * MIB,
        max_part=reader.whole("TARGET_MAX_PART_MB", default=USUAL_LIMITS.max_part // MIB) * MIB,
        max_parts=reader.whole("TARGET_MAX_PARTS", default=USUAL_LIMITS.max_parts),
    )
    if found.max_part <= found.min_part:
        reader.mistake(f"{reader.label('TARGET_MAX_PART_MB')} must be above {reader.label('TARGET_MIN_PART_MB')}")
    return found


def _object_headers(reader: Reader) -> dict[str, str]:
    """Return the headers for the options of new objects in the target."""
    encryption = reader.choice("TARGET_SERVER_SIDE_ENCRYPTION", ("", *ENCRYPTIONS))
    key = reader.word("TARGET_SSE_KMS_KEY_ID")
    if key and not encryption.startswith("aws:kms"):
        reader.mistake(
            f"{reader.label('TARGET_SSE_KMS_KEY_ID')} needs {reader.label('TARGET_SERVER_SIDE_ENCRYPTION')} aws:kms"
        )
    found = {
        "x-amz-storage-class": reader.word("TARGET_STORAGE_CLASS"),
        "x-amz-server-side-encryption": encryption,
        "x-amz-server-side-encryption-aws-kms-key-id": key,
        "x-amz-acl": reader.choice("TARGET_ACL", ("", *ACLS)),
    }
    return {name: value for name, value in found.items() if value}


def _source_requests(reader: Reader) -> RequestOptions:
    headers = {EXPECTED_OWNER_HEADER: reader.account("SOURCE_EXPECTED_BUCKET_OWNER")}
    if reader.flag("SOURCE_REQUESTER_PAYS", default=False):
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/ObjectsinRequesterPaysBuckets.html
        headers["x-amz-request-payer"] = "requester"
    return RequestOptions(
        addressing_style=reader.choice("SOURCE_ADDRESSING_STYLE", SOURCE_ADDRESSING_STYLES),
        ca_certificate=reader.certificates("SOURCE_CA_CERTIFICATE"),
        headers={name: value for name, value in headers.items() if value},
    )


def function_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings that the Terraform module gives the Lambda function. Raises SettingsError."""
    reader = Reader(environment)
    settings = replace(
        read_stores(reader),
        target_credentials=reader.required("TARGET_SECRET_ARN"),
        filters=_read_filters(reader),
        queue_url=reader.required("QUEUE_URL"),
        bulk_queue_url=reader.text("BULK_QUEUE_URL"),
        dead_letter_queue_url=reader.required("DEAD_LETTER_QUEUE_URL"),
        delete=reader.flag("SYNC_DELETE", default=True),
        deletion_queues=read_deletion_queues(reader),
        tags=reader.flag("SYNC_TAGS", default=True),
        object_lock=reader.flag("SYNC_OBJECT_LOCK", default=False),
        copy_memory=copy_memory(reader.whole("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", default=1024)),
        distributed_copy_threshold=reader.whole("DISTRIBUTED_COPY_THRESHOLD_MB", default=1024) * MIB,
        log_level=reader.choice("LOG_LEVEL", LOG_LEVELS, default="INFO"),
        event_bus_arn=reader.event_bus("S3_SYNCER_EVENT_BUS_ARN"),
    )
    require_different_queues(reader)
    reader.done()
    return settings


def _read_filters(reader: Reader) -> Filters:
    """Return the filters of the variables that the command has for its options."""
    include, exclude = (reader.lines(f"S3_SYNCER_{option}") for option in ("INCLUDE", "EXCLUDE"))
    smallest, largest = (reader.size(f"S3_SYNCER_{option}") for option in ("MIN_SIZE", "MAX_SIZE"))
    try:
        return Filters.of(include, exclude, smallest, largest)
    except BadFilter as error:
        reader.mistake(f"invalid filter: {error}")
        return NO_FILTERS


def require_different_queues(reader: Reader) -> None:
    """Add a mistake for two queues with one URL: a worker would send messages to itself without an end."""
    reader.different(
        *("QUEUE_URL", "BULK_QUEUE_URL", "DELETIONS_QUEUE_URL", "HELD_DELETIONS_QUEUE_URL", "DEAD_LETTER_QUEUE_URL")
    )


def read_deletion_queues(reader: Reader) -> DeletionQueues | None:
    """Return the queues of the deletions, or None without their variables."""
    if not (url := reader.text("DELETIONS_QUEUE_URL")):
        if reader.text("HELD_DELETIONS_QUEUE_URL"):
            reader.required("DELETIONS_QUEUE_URL")
        return None
    hold_above = reader.whole("HOLD_DELETIONS_ABOVE", default=1) if reader.text("HOLD_DELETIONS_ABOVE") else None
    return DeletionQueues(url, reader.required("HELD_DELETIONS_QUEUE_URL"), hold_above)


def copy_memory(memory_mb: int) -> int:
    """Return the memory budget in bytes for the copies of a worker with `memory_mb` MiB.

    That is four fifths of the memory above the baseline.
    """
    return max(SMALLEST_BUDGET, (memory_mb - BASELINE_MIB) * MIB * 4 // 5)
