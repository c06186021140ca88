"""A correction of MiniStack's ECR: its registry rejects requests without the token of ECR."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ministack.services import ecr  # type: ignore[import-not-found]

Response = tuple[int, dict[str, str], bytes]
Handler = Callable[..., Awaitable[Response]]


def require_login(handle: Handler) -> Handler:
    """Reject requests of container engines without the token that GetAuthorizationToken returns.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
    """

    async def wrapped(method: str, path: str, headers: Mapping[str, str], *rest: Any) -> Response:
        (authorization,) = json.loads(ecr._get_authorization_token({})[2])["authorizationData"]
        if headers.get("authorization") == f"Basic {authorization['authorizationToken']}":
            return await handle(method, path, headers, *rest)
        realm = authorization["proxyEndpoint"]
        challenge = {"WWW-Authenticate": f'Basic realm="{realm}/",service="ecr.amazonaws.com"'}
        status, found, body = ecr._registry_error(401, "UNAUTHORIZED", "Not Authorized")
        return status, {**found, **challenge}, body

    return wrapped
