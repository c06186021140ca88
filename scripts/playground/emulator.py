"""MiniStack, put right where it differs from AWS in what this product relies on.

Run by the Python of the emulator's own environment, whose version of MiniStack is pinned: each correction below
names what it corrects, and can go when MiniStack does it by itself.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import escape

from ministack import app as ministack  # type: ignore[import-not-found]
from ministack.core import iam_actions, iam_evaluator  # type: ignore[import-not-found]
from ministack.services import cloudcontrol, cloudwatch, ecs, s3, sts  # type: ignore[import-not-found]

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


def behind_tls(application: Application) -> Application:
    """All requests count as made over TLS, as all of AWS's are.

    The queues refuse others, and MiniStack enforces that. It can serve TLS itself, but with a certificate that no S3
    client trusts; so it runs as if behind something that ends the TLS, which would tell it so in this header.
    """

    async def wrapped(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
        await application(scope, receive, send)

    return wrapped


def authorized_singly(action_of: Callable[..., str | None]) -> Callable[..., str | None]:
    """The batch requests of SQS need the permission for the single ones; IAM has no others.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
    """

    def wrapped(*args: Any, **kwargs: Any) -> str | None:
        action = action_of(*args, **kwargs)
        return action.removesuffix("Batch") if action and action.startswith("sqs:") else action

    return wrapped


def described_wholly(describe: Callable[..., Any]) -> Callable[..., Any]:
    """Alarms are described with all their properties in XML too, as they are in JSON.

    Terraform reads the XML, and would change every alarm whose properties are missing there at every apply.
    """

    def wrapped(params: Any, data: Any, is_cbor: bool, is_json: bool = False) -> Any:
        if is_cbor or is_json:
            return describe(params, data, is_cbor, is_json)
        names = [name for i in range(1, 101) if (name := cloudwatch._p(params, f"AlarmNames.member.{i}"))]
        status, headers, body = describe(params, {"AlarmNames": names}, False, True)
        if status != 200:
            return status, headers, body
        result = f"<DescribeAlarmsResult>{as_xml(json.loads(body))}</DescribeAlarmsResult>"
        return cloudwatch._xml(status, "DescribeAlarmsResponse", result)

    return wrapped


def with_buckets(get_resource: Callable[..., Any]) -> Callable[..., Any]:
    """Cloud Control describes the buckets that there are, as far as somebody here asks: with their notifications.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-s3-bucket-notificationconfiguration.html
    """

    def wrapped(data: Any) -> Any:
        name = data.get("Identifier")
        if data.get("TypeName") == "AWS::S3::Bucket" and name in s3._buckets:
            properties = {"BucketName": name, **notifications(s3._bucket_notifications.get(name) or "")}
            cloudcontrol._resources[cloudcontrol._resource_key("AWS::S3::Bucket", name)] = {
                "TypeName": "AWS::S3::Bucket",
                "Identifier": name,
                "Properties": json.dumps(properties),
            }
        return get_resource(data)

    return wrapped


def notifications(document: str) -> dict[str, Any]:
    """A bucket's notification document in the words of CloudFormation."""
    kinds = {"sqs": ("Queue", "Queue"), "sns": ("Topic", "Topic"), "lambda": ("Lambda", "Function")}
    told: dict[str, Any] = {}
    for each in s3._parse_notification_config_raw(document):
        kind, destination = kinds[each["type"]]
        for event in each["events"]:
            told.setdefault(f"{kind}Configurations", []).append({"Event": event, destination: each["arn"]})
    if "EventBridgeConfiguration" in document:
        told["EventBridgeConfiguration"] = {"EventBridgeEnabled": True}
    return {"NotificationConfiguration": told} if told else {}


def for_this_account(permits: Callable[..., bool]) -> Callable[..., bool]:
    """Root taking a role stands for ECS or another service whose role it is, and acts for this account.

    A role's trust policy may want that account, so that the service is not talked into it by another.
    """

    def wrapped(document: Any, caller: str, context: Any = None) -> bool:
        if context is not None and context.principal_type == "Root":
            account = context.principal_account
            task = f"arn:aws:ecs:{context.region}:{account}:task/played-by-root"
            known = {**context.service_context, "aws:sourceaccount": account, "aws:sourcearn": task}
            context = replace(context, service_context=known)
        return permits(document, caller, context)

    return wrapped


def on_this_machine(start: Callable[..., None]) -> Callable[..., None]:
    """Containers of tasks share this machine's network: the stores that they want are on its loopback."""

    def wrapped(task: Any, definition: Any, *rest: Any) -> None:
        start(task, {**definition, "networkMode": "host"}, *rest)

    return wrapped


def as_its_role(register: Callable[..., str]) -> Callable[..., str]:
    """Containers of tasks get the keys of their role, in the environment.

    MiniStack has an address for them to ask for keys, as ECS has, but does not know these keys when it enforces IAM.
    """

    def wrapped(task: str, cluster: str, definition: Any, container: Any, launch: str, env: Any, *rest: Any) -> str:
        token = register(task, cluster, definition, container, launch, env, *rest)
        role = definition["taskRoleArn"]
        name, session = role.rpartition("/")[2], task.rpartition("/")[2]
        key, secret, session_token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(20)
        account = role.split(":")[4]
        identity = {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
            "UserId": f"{name}:{session}",
            "AccountId": account,
            "PrincipalType": "AssumedRole",
        }
        sts.register_session(key, {**identity, "SecretAccessKey": secret, "SessionToken": session_token})
        env |= {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": session_token}
        return token

    return wrapped


def confined(build: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Containers run as the user, without the capabilities and as read-only as their definition says."""

    def wrapped(container: Any, *rest: Any) -> dict[str, Any]:
        capabilities = container.get("linuxParameters", {}).get("capabilities", {})
        return {
            **build(container, *rest),
            "user": container.get("user"),
            "read_only": container.get("readonlyRootFilesystem", False),
            "cap_drop": capabilities.get("drop"),
        }

    return wrapped


def as_xml(value: Any) -> str:
    """JSON as the query protocol writes it. Times stay out: they are numbers here and would be dates there."""
    if isinstance(value, dict):
        told = {name: part for name, part in value.items() if part is not None and not name.endswith("Timestamp")}
        return "".join(f"<{name}>{as_xml(part)}</{name}>" for name, part in told.items())
    if isinstance(value, list):
        return "".join(f"<member>{as_xml(part)}</member>" for part in value)
    return escape(json.dumps(value) if isinstance(value, bool) else str(value))


if __name__ == "__main__":
    ministack.app = behind_tls(ministack.app)
    iam_actions.extract_iam_action = authorized_singly(iam_actions.extract_iam_action)
    cloudcontrol._get_resource = with_buckets(cloudcontrol._get_resource)
    cloudwatch._describe_alarms = described_wholly(cloudwatch._describe_alarms)
    iam_evaluator.evaluate_trust_policy = for_this_account(iam_evaluator.evaluate_trust_policy)
    ecs._start_task_worker = on_this_machine(ecs._start_task_worker)
    ecs._register_metadata = as_its_role(ecs._register_metadata)
    ecs._build_run_kwargs = confined(ecs._build_run_kwargs)
    ministack.main()
