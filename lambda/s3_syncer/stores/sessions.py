"""Sessions of boto3: those of its default chain, of a profile and of a role."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
    ReadOnlyCredentials,
    RefreshableCredentials,
)
from botocore.exceptions import ClientError, CredentialRetrievalError
from botocore.retries.standard import TransientRetryableChecker
from botocore.session import Session

from ..core.errors import BUSY_STATUSES, StoreUnusable, Transient, classify
from ..settings import AwsChain, is_session_token
from ..settings import Credentials as AccessKey
from ..versions import require_boto3
from .fenced_requests import fence_connections
from .proxies import require_usable_proxy

#: Name of the sessions of a role. CloudTrail of the role's account shows it.
ROLE_SESSION_NAME = "s3-syncer"

_TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105 - the name of a variable

_KEY_VARIABLES = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"


def default_session() -> boto3.Session:
    """Return the session of all clients of the default chain. Raises StoreUnusable if boto3 is too old.

    It is made at the first call, because it takes 10 MB and 0.1 s.
    """
    fence_connections()  # also if other code of this process has made the session
    _repeat_after_busy_statuses()
    if boto3.DEFAULT_SESSION is None:
        require_boto3()
        boto3.setup_default_session()
    assert boto3.DEFAULT_SESSION is not None
    return boto3.DEFAULT_SESSION


def _repeat_after_busy_statuses() -> None:
    """Make the clients of this process repeat a request after 429 and 503, whatever the error code is.

    Older releases of botocore, such as 1.36, repeat it after 429 only if they know the code. Stores have other codes,
    and a response to a HEAD has none. botocore has no option for that.
    """
    checker: Any = TransientRetryableChecker
    checker._TRANSIENT_STATUS_CODES = sorted({*checker._TRANSIENT_STATUS_CODES, *BUSY_STATUSES})


def require_usable_keys(session: boto3.Session) -> None:
    """Raise StoreUnusable if the session has keys that cannot sign, or no file with the token for them.

    Keys that expire are checked when they sign.
    """
    found = session.get_credentials()
    if found is None:
        return
    token_file = os.environ.get(_TOKEN_FILE, "")
    if found.method == "assume-role-with-web-identity" and token_file and not Path(token_file).is_file():
        raise StoreUnusable(f"{_TOKEN_FILE} must be the path of a file, not {token_file!r}", "BadConfiguration")
    if not isinstance(found, RefreshableCredentials):
        require_signable(found.get_frozen_credentials(), found.method)


def require_signable(keys: ReadOnlyCredentials, method: str) -> None:
    """Raise StoreUnusable if the keys cannot sign. `method` is the name that boto3 has for their source.

    boto3 would take the failure of each request for a broken connection, and show the keys in its error.
    """
    can_sign = AccessKey(str(keys.access_key), str(keys.secret_key)).can_sign
    if not can_sign or not is_session_token(keys.token or ""):
        what = "the access key" if not can_sign else "the session token"
        place = _KEY_VARIABLES if method == "env" else f"the credentials that boto3 found by {method}"
        raise StoreUnusable(
            f"{what} has control or other unusable characters: write it without them into {place}", "BadConfiguration"
        )


def session_of(chain: AwsChain, config: Config, region: str = "") -> boto3.Session:
    """Return the session with these credentials. Raises StoreUnusable or a BotoCoreError.

    `config` is for the requests to STS, and `region` for a profile without a region. No request is made here.
    """
    base = _profile_session(chain.profile) if chain.profile else default_session()
    require_usable_keys(base)
    if not chain.role_arn:
        return base
    sts = base.client("sts", region_name=base.region_name or region or None, config=config)
    require_usable_proxy(sts.meta.endpoint_url)
    session = Session(profile=chain.profile or None)
    session.register_component("credential_provider", CredentialResolver([_RoleProvider(sts, chain.role_arn)]))
    return boto3.Session(botocore_session=session)


def _profile_session(profile: str) -> boto3.Session:
    shared = default_session()
    if profile not in shared.available_profiles:
        known = ", ".join(shared.available_profiles)
        raise StoreUnusable(
            f"the AWS profile {profile!r} does not exist: "
            + (f"write one of {known}, or add it" if known else "add it")
            + f" with `aws configure --profile {profile}`",
            "BadConfiguration",
        )
    return boto3.Session(profile_name=profile)


class _RoleProvider(CredentialProvider):
    """The only provider of the credentials of a session with a role."""

    METHOD = "assume-role"

    def __init__(self, sts: Any, role_arn: str) -> None:
        super().__init__()
        self._sts, self._role_arn = sts, role_arn

    def load(self) -> Credentials:
        """Return credentials that assume the role at their first use, and again before they expire.

        A role that another role assumes lasts for one hour. boto3 begins to renew it 15 minutes before its end.
        """
        return DeferredRefreshableCredentials(self._assume, self.METHOD)

    def _assume(self) -> Mapping[str, str]:
        try:
            found = self._sts.assume_role(RoleArn=self._role_arn, RoleSessionName=ROLE_SESSION_NAME)["Credentials"]
        except ClientError as error:
            if may_pass(error):
                raise
            raise CredentialRetrievalError(
                provider=self.METHOD, error_msg=_not_assumed(self._role_arn, error)
            ) from error
        return {
            "access_key": found["AccessKeyId"],
            "secret_key": found["SecretAccessKey"],
            "token": found["SessionToken"],
            "expiry_time": found["Expiration"].isoformat(),
        }


def _not_assumed(role_arn: str, error: ClientError) -> str:
    reason = error.response.get("Error", {}).get("Message") or error
    return (
        f"the role {role_arn} cannot be assumed: {reason}. Allow sts:AssumeRole in the trust policy of the role, and "
        "for another account in a policy of the credentials that assume it"
    )


def may_pass(error: ClientError) -> bool:
    """Return True if the service was busy or failed, so that a later request may succeed."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return isinstance(classify(error.response.get("Error", {}).get("Code", ""), status, ""), Transient)
