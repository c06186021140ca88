"""Build the boto3 clients. No other module builds one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore
from botocore.config import Config

from .. import __version__
from ..core.headers import META
from ..core.model import RAW_EXPIRES, RAW_METADATA
from ..settings import AWS, NO_OPTIONS, NO_SOURCE_OPTIONS, AwsChain, Connection, Credentials, RequestOptions
from ..settings_reader import web_address
from .body_ends import end_bodies
from .ca_certificate import ca_file, require_usable_bundle
from .content_md5 import send_content_md5
from .credentials import FixedClient, RoleClient, RotatingClient, explained, read_secret
from .fenced_requests import ask_fence
from .plain_responses import read_plain_responses
from .protocols import ClientSource
from .proxies import require_usable_proxy
from .sessions import default_session, require_usable_keys, session_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

_COMMON: dict[str, Any] = {
    # Stated because botocore's defaults for retries changed between releases.
    "retries": {"mode": "standard", "total_max_attempts": 6},
    "connect_timeout": 5,
    "read_timeout": 60,
    "tcp_keepalive": True,
    "signature_version": "s3v4",
    # The same text for all requests. botocore builds its own twice a request, which takes a tenth of the CPU time.
    "user_agent": f"s3-syncer/{__version__} Boto3/{boto3.__version__} Botocore/{botocore.__version__}",
}

#: The endpoints of S3 in all partitions that are public: IPv4, dual stack, FIPS and interface endpoints. Other services
#: of AWS in front of a store have other names. https://github.com/boto/botocore/blob/develop/botocore/data/partitions.json
_AWS_ENDPOINT = re.compile(
    r"https://(?:[^/]+\.)?s3(?:-fips)?\.(?:[^/]+\.)?"
    r"(?:amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|api\.aws|api\.amazonwebservices\.(?:com\.cn|eu))/?"
)

#: The checksums at a store that is not AWS. By default, boto3 sends aws-chunked bodies with CRC trailers, which many
#: stores refuse. It also asks for the checksum of each object. Some stores then send that of the whole object with a
#: range of it.
_PLAIN_CHECKSUMS = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")

#: The part of the configuration for services that sign in their own way and need no timeouts of this project.
_OTHER_SERVICES = {name: _COMMON[name] for name in ("retries", "user_agent")}

#: The setting of boto3 that selects the endpoint of us-east-1: "regional" or "legacy".
_REGIONAL = "us_east_1_regional_endpoint"

#: The operations with the headers of a new object.
_CREATIONS = ("PutObject", "CreateMultipartUpload")


def source_client(
    connections: int, options: RequestOptions = NO_SOURCE_OPTIONS, connection: Connection = AWS
) -> ClientSource:
    """Return the client of the source. Raises StoreUnusable.

    boto3 finds what the connection leaves open: endpoint, region and credentials.
    """
    s3: Any = {} if options.addressing_style == "auto" else {"addressing_style": options.addressing_style}
    if connection.endpoint:
        s3["use_accelerate_endpoint"] = False  # a setting of the profile, which is for AWS alone
    config = Config(
        max_pool_connections=connections,
        # A restore writes parts over several clients, and only boto3 would send a checksum with a part.
        request_checksum_calculation="when_required",
        s3=s3 or None,
        **_COMMON,
    )
    credentials = connection.credentials
    keys = _key_arguments(credentials) if isinstance(credentials, Credentials) else {}

    def connect(session: boto3.Session, config: Config) -> S3Client:
        return _regional_client(
            session,
            endpoint_url=connection.endpoint or None,
            region_name=connection.region or None,
            verify=ca_file(options.ca_certificate) if options.ca_certificate else None,
            config=config,
            **keys,
        )

    def build(session: boto3.Session) -> S3Client:
        client = connect(session, config)
        if not is_aws(client.meta.endpoint_url):  # boto3 finds the endpoint
            client = connect(session, config.merge(_PLAIN_CHECKSUMS))
        pass_raw_properties(client)
        _add_headers(client, options)
        ask_fence(client)
        end_bodies(client)
        read_plain_responses(client)
        return client

    def start() -> tuple[S3Client, boto3.Session]:
        with explained("the source"):
            session = (
                _session(credentials, connection.region) if isinstance(credentials, AwsChain) else default_session()
            )
            return build(session), session

    if isinstance(credentials, AwsChain) and credentials.role_arn:
        return RoleClient(start)
    client, session = start()
    return FixedClient(client, credentials if isinstance(credentials, Credentials) else session)


def target_client(
    endpoint: str,
    region: str,
    credentials: str | Credentials | AwsChain,
    connections: int,
    options: RequestOptions = NO_OPTIONS,
) -> ClientSource:
    """Return the client of the target. Raises StoreUnusable.

    `credentials` is the ARN or name of a secret, the credentials themselves, or a chain of boto3. Without a chain, the
    client uses none of the `AWS_*` variables. It uses no setting for S3 of the user's AWS profile.
    """
    # Each of these is stated, because botocore takes what is missing from the profile of the user. With None, botocore
    # signs a body that has no Content-MD5 or no TLS.
    s3: Any = {
        "addressing_style": options.addressing_style,
        "payload_signing_enabled": options.payload_signing or None,
        "use_accelerate_endpoint": False,
    }
    config = Config(
        max_pool_connections=connections,
        s3=s3,
        **_COMMON,
    ).merge(_PLAIN_CHECKSUMS)

    def connect(session: boto3.Session, **keys: Any) -> S3Client:
        client: S3Client = _client_of(
            session,
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            verify=ca_file(options.ca_certificate) if options.ca_certificate else None,
            config=config,
            **keys,
        )
        pass_raw_properties(client)
        _add_headers(client, options)
        send_content_md5(client)
        ask_fence(client)
        end_bodies(client)
        read_plain_responses(client)
        return client

    def build(credentials: Credentials) -> S3Client:
        with explained("the target"):
            return connect(default_session(), **_key_arguments(credentials))

    if isinstance(credentials, Credentials):
        return RotatingClient(lambda: credentials, build)
    if isinstance(credentials, AwsChain):
        with explained("the target"):
            session = _session(credentials, region)
            return FixedClient(connect(session), session)
    with explained("Secrets Manager"):
        secrets: SecretsManagerClient = _client(
            "secretsmanager", region_name=_region_of(credentials), config=Config(**_OTHER_SERVICES)
        )
    return RotatingClient(lambda: read_secret(secrets, credentials), build)


def _region_of(secret: str) -> str | None:
    """Return the Region in the ARN of a secret, which may not be that of the source; None for a name."""
    found = re.match(r"arn:[^:]+:secretsmanager:([^:]+):", secret)
    return found and found.group(1)


def is_aws(endpoint: str) -> bool:
    """Return True if the endpoint is one of AWS S3. TLS proves that AWS answers there."""
    return _AWS_ENDPOINT.fullmatch(endpoint.lower()) is not None


def namespace(endpoint: str) -> str:
    """Return the same text for two endpoints at which a name means the same bucket.

    A bucket name is unique in a partition of AWS: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingBucket.html
    """
    url = urlsplit(endpoint.lower())
    host = url.hostname or ""
    if is_aws(endpoint):
        partition = next((name for name in ("us-gov", "cn", "eusc") if f".{name}-" in host), "")
        return f"AWS {partition}"
    return f"{host}:{url.port or {'http': 80}.get(url.scheme, 443)}{urlsplit(endpoint).path.rstrip('/')}"


def aws_address(chain: AwsChain, region: str) -> tuple[str, str]:
    """Return the endpoint of S3 and its region. Raises StoreUnusable.

    The region is the given one, or else that of the chain; "" if it is unknown.
    """
    with explained("the target"):
        session = _session(chain, region)
        if not (region or session.region_name):
            return "", ""
        meta = _regional_client(session, region_name=region or None).meta
        return meta.endpoint_url, meta.region_name


def queue_client(connections: int) -> SQSClient:
    """Return a client for SQS, with the default AWS chain. Raises StoreUnusable.

    It gives up sooner than the other clients. A request to change a visibility timeout must be repeated before that
    timeout ends.
    """
    config = {
        **_COMMON,
        "retries": {"mode": "standard", "total_max_attempts": 3},
        "read_timeout": 30,  # the longest poll takes 20
        "max_pool_connections": connections,
    }
    with explained("the queue"):
        client: SQSClient = _client("sqs", config=Config(**config))
    return client


def event_client(bus_arn: str) -> Any:
    """Return a client for EventBridge in the Region of a bus, with the default AWS chain.

    Raises StoreUnusable. Its two attempts take seven seconds: a worker has so much at the end of its batch.
    """
    config = Config(
        connect_timeout=1,
        read_timeout=2,
        retries={"mode": "standard", "total_max_attempts": 2},
        user_agent=_COMMON["user_agent"],
    )
    with explained("EventBridge"):
        return _client("events", region_name=bus_arn.split(":")[3], config=config)


def aws_client(service: str) -> Any:
    """Return a client for another AWS service, with the default AWS chain. Raises StoreUnusable."""
    with explained(f"the service {service} of AWS"):
        return _client(service, config=Config(**_OTHER_SERVICES))


def _client(service: str, **options: Any) -> Any:
    """Return a client of the default session. Raises StoreUnusable if boto3 is too old."""
    session = default_session()
    require_usable_keys(session)
    return _client_of(session, service, **options)


def _client_of(session: boto3.Session, service: str, **options: Any) -> Any:
    """Return a client. Raises StoreUnusable if the environment has no usable way to its endpoint."""
    client: Any = session.client(service, **options)
    endpoint = client.meta.endpoint_url
    if web_address(endpoint) is None:
        raise ValueError(f"Invalid endpoint: {endpoint}")
    require_usable_proxy(endpoint)
    if endpoint.startswith("https:") and options.get("verify") is None:
        require_usable_bundle()
    return client


def _regional_client(session: boto3.Session, *, config: Any = None, **options: Any) -> S3Client:
    """Return a client of S3 that uses the regional endpoint in us-east-1 too, unless the user chose.

    boto3 alone uses s3.amazonaws.com there, which no interface endpoint serves: see "Legacy global endpoints" in
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/privatelink-interface-endpoints.html. The settings are
    AWS_S3_US_EAST_1_REGIONAL_ENDPOINT and that of the profile.
    """
    config = config or Config()
    settings = session._session.get_config_variable("s3") or {}
    if not settings.get(_REGIONAL):
        s3: Any = {**(config.s3 or {}), _REGIONAL: "regional"}
        config = config.merge(Config(s3=s3))
    client: S3Client = _client_of(session, "s3", config=config, **options)
    return client


def _session(chain: AwsChain, region: str) -> boto3.Session:
    return session_of(chain, Config(**_OTHER_SERVICES), region)


def _key_arguments(credentials: Credentials) -> dict[str, Any]:
    return {
        "aws_access_key_id": credentials.access_key_id,
        "aws_secret_access_key": credentials.secret_access_key,
        "aws_session_token": None,
    }


def _add_headers(client: S3Client, options: RequestOptions) -> None:
    """Make `client` send and sign the headers of the options."""

    def add(params: dict[str, Any], **_: Any) -> None:
        params["headers"].update(options.headers)

    def add_to_object(params: dict[str, Any], **_: Any) -> None:
        params["headers"].update(options.object_headers)

    client.meta.events.register("before-call.s3", add)
    for operation in _CREATIONS:
        client.meta.events.register(f"before-call.s3.{operation}", add_to_object)


def pass_raw_properties(client: S3Client) -> None:
    """Make `client` send Expires and user metadata unchanged, and sign them like every other header.

    boto3 takes only a date for Expires, and only ASCII for user metadata.
    """

    def keep(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        for name in (RAW_EXPIRES, RAW_METADATA):
            if name in params:
                context[name] = params.pop(name)

    def send(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if RAW_EXPIRES in context:
            params["headers"]["Expires"] = context[RAW_EXPIRES]
        for name, value in context.get(RAW_METADATA, {}).items():
            params["headers"][META + name] = value

    for operation in _CREATIONS:
        client.meta.events.register(f"provide-client-params.s3.{operation}", keep)
        client.meta.events.register(f"before-call.s3.{operation}", send)
