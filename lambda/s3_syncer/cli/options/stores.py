"""The options that name the two stores, and say what each of them needs."""

from __future__ import annotations

import os

import click

from ...settings import ACLS, ADDRESSING_STYLES, ENCRYPTIONS, SOURCE_ADDRESSING_STYLES
from ..click_extensions import option
from .store_locations import SOURCE_LOCATION, TARGET_LOCATION
from .types import Certificates


def _target_region(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Return the region, or that of both sides if only the variables of the 2021 container are set.

    Otherwise AWS_DEFAULT_REGION is the region of the source.
    """
    as_in_2021 = os.environ.get("ENDPOINT") and not os.environ.get("TARGET_ENDPOINT")
    return value or (os.environ.get("AWS_DEFAULT_REGION") if as_in_2021 else None)


STORES = (
    SOURCE_LOCATION,
    option("Source", "--source-bucket", envvar="SOURCE_BUCKET", needed=True, help="Bucket to read."),
    option(
        "Source",
        "--source-prefix",
        envvar="SOURCE_PREFIX",
        default="",
        help="Only keys below this prefix, such as photos/. Default: all keys.",
    ),
    option(
        "Source",
        "--source-endpoint",
        envvar="SOURCE_ENDPOINT",
        help="URL of the store with the source. Default: AWS_ENDPOINT_URL_S3, or AWS S3.",
    ),
    option(
        "Source",
        "--source-region",
        envvar="SOURCE_REGION",
        help="Region of the source. Default: that of the AWS configuration, such as AWS_REGION.",
    ),
    option(
        "Source",
        "--source-profile",
        envvar="SOURCE_PROFILE",
        help="Profile of the AWS configuration files with the credentials of the source, and with its region and "
        "endpoint if the options name none. Default: SOURCE_ACCESS_KEY_ID and SOURCE_SECRET_ACCESS_KEY, or the AWS "
        "credential chain.",
    ),
    option(
        "Source",
        "--source-role-arn",
        envvar="SOURCE_ROLE_ARN",
        help="ARN of a role to assume for the source, with the credentials of --source-profile or of the AWS "
        "credential chain. The command renews the credentials of the role before they expire.",
    ),
    option(
        "Source",
        "--source-addressing-style",
        envvar="SOURCE_ADDRESSING_STYLE",
        type=click.Choice(SOURCE_ADDRESSING_STYLES),
        default=SOURCE_ADDRESSING_STYLES[0],
        show_default=True,
        help="Place of the bucket in an address of the source, as for the target. auto: boto3 chooses.",
    ),
    option(
        "Source",
        "--source-ca-certificate",
        envvar="SOURCE_CA_CERTIFICATE",
        type=Certificates(),
        help="File with the CA certificates of the source in PEM, as for the target.",
    ),
    option(
        "Source",
        "--source-expected-bucket-owner",
        envvar="SOURCE_EXPECTED_BUCKET_OWNER",
        help="ID of the AWS account that owns the source bucket. Each request names it, so that S3 denies a request to "
        "a bucket of another account with the same name.",
    ),
    option(
        "Source",
        "--source-requester-pays",
        envvar="SOURCE_REQUESTER_PAYS",
        is_flag=True,
        help="Agree to pay for the requests and the data of a Requester Pays bucket of another account.",
    ),
    TARGET_LOCATION,
    option(
        "Target",
        "--target-endpoint",
        envvar=["TARGET_ENDPOINT", "ENDPOINT"],
        needed=True,
        help="URL of the other store, such as https://s3.us-east-1.example.lyve.seagate.com.",
    ),
    option(
        "Target",
        "--target-region",
        envvar="TARGET_REGION",
        callback=_target_region,
        needed=True,
        help="Region of the other store.",
    ),
    option(
        "Target", "--target-bucket", envvar="TARGET_BUCKET", needed=True, help="Bucket on the other store to write."
    ),
    option(
        "Target",
        "--target-prefix",
        envvar="TARGET_PREFIX",
        default="",
        help="Replaces the source prefix in each key. Default: no prefix.",
    ),
    option(
        "Target",
        "--target-addressing-style",
        envvar="TARGET_ADDRESSING_STYLE",
        type=click.Choice(ADDRESSING_STYLES),
        default="path",
        show_default=True,
        help="Place of the bucket in an address. path: https://HOST/BUCKET. virtual: https://BUCKET.HOST, for a store "
        "that refuses the other form.",
    ),
    option(
        "Target",
        "--target-payload-signing",
        envvar="TARGET_PAYLOAD_SIGNING",
        is_flag=True,
        help="Sign the hash of each body too, for a store that refuses UNSIGNED-PAYLOAD. Large objects are then "
        "buffered instead of streamed, and take more CPU time.",
    ),
    option(
        "Target",
        "--target-ca-certificate",
        envvar="TARGET_CA_CERTIFICATE",
        type=Certificates(),
        help="File with the CA certificates of the target in PEM, if a private CA has signed the target's certificate. "
        "They replace AWS_CA_BUNDLE and all other CAs for the target. The variable may also have the text of the file.",
    ),
    option(
        "Target",
        "--target-storage-class",
        envvar="TARGET_STORAGE_CLASS",
        help="Storage class of new objects, such as STANDARD_IA. Default: that of the store. Existing objects keep "
        "theirs.",
    ),
    option(
        "Target",
        "--target-server-side-encryption",
        envvar="TARGET_SERVER_SIDE_ENCRYPTION",
        type=click.Choice(ENCRYPTIONS),
        help="Encryption of new objects by the store. Default: that of the bucket.",
    ),
    option(
        "Target",
        "--target-sse-kms-key-id",
        envvar="TARGET_SSE_KMS_KEY_ID",
        help="KMS key of the store that encrypts new objects, with aws:kms. Default: the key of the bucket.",
    ),
    option(
        "Target",
        "--target-acl",
        envvar="TARGET_ACL",
        type=click.Choice(ACLS),
        help="Canned ACL of new objects. Default: that of the store, mostly private.",
    ),
    option(
        "Target",
        "--target-max-object-mb",
        envvar="TARGET_MAX_OBJECT_MB",
        type=click.IntRange(1),
        help="Largest object of the store in MiB. A larger object fails at once. Default: 5242880, which is 5 TiB.",
    ),
    option(
        "Target",
        "--target-min-part-mb",
        envvar="TARGET_MIN_PART_MB",
        type=click.IntRange(1),
        help="Smallest part of a multipart upload in MiB. Default: 5.",
    ),
    option(
        "Target",
        "--target-max-part-mb",
        envvar="TARGET_MAX_PART_MB",
        type=click.IntRange(2),
        help="Largest part, and largest single upload, in MiB. Default: 4096.",
    ),
    option(
        "Target",
        "--target-max-parts",
        envvar="TARGET_MAX_PARTS",
        type=click.IntRange(1),
        help="Most parts of an object. Default: 10000.",
    ),
    option(
        "Target",
        "--target-secret-arn",
        envvar="TARGET_SECRET_ARN",
        help="ARN or name of the AWS Secrets Manager secret with the target's access key. Without it and without "
        "--target-profile, the command reads TARGET_ACCESS_KEY_ID and TARGET_SECRET_ACCESS_KEY from the environment.",
    ),
    option(
        "Target",
        "--target-profile",
        envvar="TARGET_PROFILE",
        help="Profile of the AWS configuration files with the credentials of the target. Its region and its endpoint "
        "are not used.",
    ),
)
