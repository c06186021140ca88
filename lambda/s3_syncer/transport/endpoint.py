"""Find the endpoint of a bucket, for the CRT client and the streaming client."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.httpsession import get_cert_path

from ..settings import NO_OPTIONS, RequestOptions
from ..stores.ca_certificate import bundle_variable, ca_file
from ..stores.protocols import BucketLocation
from ..stores.proxies import is_proxied
from .protocols import Headers

#: Stands for a key in a URL; percent-encoding leaves it as it is.
_KEY = "key"


@dataclass(frozen=True, slots=True)
class BucketEndpoint:
    """The URL that precedes a key, the region that signatures name, and the CA bundle that boto3 trusts."""

    url: str
    region: str
    ca_file: str
    options: RequestOptions = NO_OPTIONS

    def headers(self, method: str, query: str) -> Headers:
        """Return the headers of the options for a request. A PUT without parameters creates an object."""
        common = tuple(self.options.headers.items())
        return (*common, *self.options.object_headers.items()) if method == "PUT" and not query else common


class OnlyBoto3Error(Exception):
    """Only boto3 can reach the bucket."""


def bucket_endpoint(location: BucketLocation) -> BucketEndpoint:
    """Return the endpoint to which boto3 sends its requests for the bucket.

    Raises OnlyBoto3Error where no other client can reach the bucket. Raises StoreUnusable, Transient or
    a BotoCoreError when there are no credentials.
    """
    name = location.name
    if name.startswith("arn:") or name.endswith("--x-s3"):  # access points and directory buckets sign differently
        raise OnlyBoto3Error
    lease = location.clients.lease()
    lease.signing_keys()
    if is_proxied(lease.client.meta.endpoint_url):  # awscrt and http.client would connect past the proxy
        raise OnlyBoto3Error
    url, region = _address(lease.client, name)
    return BucketEndpoint(url, region, _ca_file(location.options), location.options)


def _ca_file(options: RequestOptions) -> str:
    if options.ca_certificate:
        return ca_file(options.ca_certificate)
    return os.environ.get(bundle_variable()) or str(get_cert_path(True))


def _address(client: Any, bucket: str) -> tuple[str, str]:
    """Return the URL of the bucket, and the region that signatures name.

    boto3 decides both, for every partition, FIPS, dual stack and custom endpoints, and whether the bucket is in the
    host or in the path. So this makes a request that `_answer` answers before boto3 sends it. A presigned URL would
    not do: in the partition `aws` it names the global endpoint. No code of this package sends a GetObjectAcl request.
    """
    client.meta.events.register_first("before-call.s3.GetObjectAcl", _answer, unique_id="s3-syncer-address")
    answer = client.get_object_acl(Bucket=bucket, Key=_KEY)
    return answer["url"].partition("?")[0].removesuffix(f"/{_KEY}"), answer["region"]


def _answer(params: dict[str, Any], context: dict[str, Any], **_: object) -> tuple[AWSResponse, dict[str, str]]:
    url = params["url"]
    return AWSResponse(url, 200, HTTPHeaders(), None), {"url": url, "region": context["signing"]["region"]}
