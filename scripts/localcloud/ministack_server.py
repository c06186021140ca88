"""MiniStack, put right where it differs from AWS in what this product relies on.

Run by the Python of the emulator's own environment, whose version of MiniStack is pinned: each correction below
names what it corrects, and can go when MiniStack does it by itself.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from ministack import app as ministack  # type: ignore[import-not-found]
from ministack.core import iam_actions, iam_evaluator, lambda_runtime  # type: ignore[import-not-found]
from ministack.services import (  # type: ignore[import-not-found]
    cloudcontrol,
    cloudwatch,
    cloudwatch_logs,
    ec2,
    ecs,
    eventbridge,
    iam,
    kms,
    lambda_svc,
    s3,
    secretsmanager,
    sqs,
    sts,
)

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

# What a service asks of KMS on behalf of whoever asks it for this, when what is asked for is encrypted.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
ASKED_OF_KMS = {
    "s3:GetObject": ["kms:Decrypt"],
    "secretsmanager:GetSecretValue": ["kms:Decrypt"],
    "sqs:ReceiveMessage": ["kms:Decrypt"],
    "sqs:SendMessage": ["kms:GenerateDataKey", "kms:Decrypt"],
}

# What a mapping needs of a function's role before Lambda takes it.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
ASKED_BY_MAPPINGS = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]


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


def for_prefix_lists(parse: Callable[..., list[dict[str, Any]]]) -> Callable[..., list[dict[str, Any]]]:
    """Rules of security groups may be for prefix lists.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html
    """

    def wrapped(params: Any, prefix: str) -> list[dict[str, Any]]:
        rules = parse(params, prefix)
        for number, rule in enumerate(rules, start=1):
            asked = (ec2._p(params, f"{prefix}.{number}.PrefixListIds.{i}.PrefixListId") for i in range(1, 101))
            rule["PrefixListIds"] = [{"PrefixListId": each} for each in asked if each]
        return rules

    return wrapped


def with_prefix_list(rule_as_xml: Callable[..., str]) -> Callable[..., str]:
    """A security group's rule for a prefix list says for which one.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRule.html
    """

    def wrapped(group: str, rule: dict[str, Any], is_egress: bool = False) -> str:
        item = rule_as_xml(group, rule, is_egress)
        for each in rule.get("PrefixListIds", []):
            item = item.replace("</item>", f"<prefixListId>{each['PrefixListId']}</prefixListId></item>")
        return item

    return wrapped


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


def known_by_id(find: Callable[..., Any]) -> Callable[..., Any]:
    """Every event of a log has an id when it is found, those that functions have written too, as all do on AWS.

    Who reads a log again and again tells by it what is new.
    """

    def wrapped(data: Any) -> Any:
        group = cloudwatch_logs._log_groups.get(data.get("logGroupName"), {})
        for stream in list(group.get("streams", {}).values()):
            for event in list(stream["events"]):
                event.setdefault("eventId", secrets.token_hex(16))
        return find(data)

    return wrapped


def key_of(action: str, resource: str) -> str | None:
    """The customer's key that this resource is encrypted with, if it is and the action needs it."""
    if action not in ASKED_OF_KMS:
        return None
    named: str | None = None
    if action.startswith("sqs:"):
        named = ((sqs._queue_by_arn(resource) or {}).get("attributes") or {}).get("KmsMasterKeyId")
    elif action.startswith("secretsmanager:"):
        named = (secretsmanager._resolve(resource)[1] or {}).get("KmsKeyId")
    else:
        request = iam_evaluator._signed_request.get()
        if request is not None and request.method == "HEAD":  # which tells nothing of what is encrypted
            return None
        bucket, _, key = resource.rpartition(":")[2].partition("/")
        stored = (s3._buckets.get(bucket) or {}).get("objects", {}).get(unquote(key)) or {}
        named = (stored.get("preserved_headers") or {}).get("x-amz-server-side-encryption-aws-kms-key-id")
    found = kms._resolve_key(named) if named else None
    return found["Arn"] if found else None


def with_their_keys(enforce: Callable[..., Any]) -> Callable[..., Any]:
    """Who asks for what is encrypted with a customer's key needs that key too; MiniStack keeps but the key's name."""

    def wrapped(
        caller: str, action: str, service: str, region: str, resource: str = "*", *rest: Any, **named: Any
    ) -> Any:
        resource = named.pop("resource_arn", resource)
        denied = enforce(caller, action, service, region, resource, *rest, **named)
        if denied or not (key := key_of(action, resource)):
            return denied
        via = {"kms:ViaService": f"{service}.{region}.amazonaws.com"}
        asked = (enforce(caller, needed, "kms", region, key, via) for needed in ASKED_OF_KMS[action])
        return next((denied for denied in asked if denied), None)

    return wrapped


def role_may(role: str, action: str, resource: str) -> bool:
    """Whether this role may, where AWS acts as the role and MiniStack does not ask; its keys included."""
    account, name = role.split(":")[4], role.rpartition("/")[2]
    region = resource.split(":")[3]
    policies = iam_evaluator._gather_role_policies(name, account)
    boundary = iam_evaluator._permissions_boundary(iam._roles, name, account)

    def asked(action: str, resource: str, **context: str) -> bool:
        service = action.partition(":")[0]
        request = iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:sts::{account}:assumed-role/{name}/by-a-service",
            principal_type="AssumedRole",
            principal_account=account,
            action=action,
            resource_arn=resource,
            region=region,
            secure_transport=True,
            service_context=context,
        )
        result = iam_evaluator.evaluate(request, policies, *boundary)
        if policy := iam_evaluator._resource_policy(service, resource):
            required = service in iam_evaluator._POLICY_REQUIRED
            result = iam_evaluator.combine_resource_policy(result, request, *policy, required=required, limits=boundary)
        return bool(result.decision == "Allow")

    via = {"kms:viaservice": f"{action.partition(':')[0]}.{region}.amazonaws.com"}
    key = key_of(action, resource)
    return asked(action, resource) and (not key or all(asked(needed, key, **via) for needed in ASKED_OF_KMS[action]))


def received_as_its_role(receive: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """A mapping takes messages from its queue with the role of its function."""

    def wrapped(url: str, *rest: Any) -> list[Any]:
        queue = sqs._queues[url]["attributes"]["QueueArn"]
        mappings = [mapping for _, _, mapping in lambda_svc._iter_all_esms() if mapping["EventSourceArn"] == queue]
        functions = [lambda_svc._get_func_record_for_qualifier(m["FunctionName"], m.get("Qualifier")) for m in mappings]
        roles = {config["Role"] for _, config in functions if config}
        permitted = all(role_may(role, action, queue) for role in roles for action in ASKED_BY_MAPPINGS)
        return receive(url, *rest) if permitted else []

    return wrapped


def logged_as_its_role(emit: Callable[..., None]) -> Callable[..., None]:
    """What a function prints is logged with its role, or not at all."""

    def wrapped(function: Any, *rest: Any, **named: Any) -> None:
        config = function.get("config") or function
        group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{config['FunctionName']}"
        account, region = (config["FunctionArn"].split(":")[n] for n in (4, 3))
        stream = f"arn:aws:logs:{region}:{account}:log-group:{group}:log-stream:one"
        if all(role_may(config["Role"], action, stream) for action in ("logs:CreateLogStream", "logs:PutLogEvents")):
            emit(function, *rest, **named)

    return wrapped


def heard_out(drain: Callable[..., str]) -> Callable[..., str]:
    """What an invocation prints is logged with it, also by a machine so busy that the lines are late.

    MiniStack waits 50 ms for the first line and 5 ms for another. What comes later is logged with the next invocation
    of the same process, if there is one.
    """

    def wrapped(worker: Any) -> str:
        return drain(worker, first_line_wait=2.0, idle_confirm=0.1, hard_cap=10.0)

    return wrapped


def service_may_use_key(service: str, queue: str, context: dict[str, str]) -> bool:
    """Whether the policy of the queue's key, if it has one, lets a service put a message into the queue."""
    key = key_of("sqs:SendMessage", queue)
    if key is None:
        return True
    policy, _ = kms.key_policy_for_arn(key)
    request = iam_evaluator.EvalContext("*", "Service", "", "", key, key.split(":")[3], service_context=context)
    return all(
        iam_evaluator.evaluate_resource_policy(policy, replace(request, action=needed), service=service).decision
        == "Allow"
        for needed in ASKED_OF_KMS["sqs:SendMessage"]
    )


def delivered_encrypted(allows: Callable[..., bool]) -> Callable[..., bool]:
    """S3 delivers to a queue if the policy of the queue's key lets it, too."""

    def wrapped(queue: str, service: str, source: str, account: str) -> bool:
        context = {"aws:sourcearn": source, "aws:sourceaccount": account}
        return allows(queue, service, source, account) and service_may_use_key(service, queue, context)

    return wrapped


def dispatched_encrypted(dispatch: Callable[..., None]) -> Callable[..., None]:
    """So does EventBridge, which does not tell KMS on whose behalf."""

    def wrapped(queue: Any, *rest: Any, **named: Any) -> None:
        if service_may_use_key("events.amazonaws.com", str(queue), {}):
            dispatch(queue, *rest, **named)

    return wrapped


def reported(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """The first use of each permission of a role is a line of the log, to be compared with what is granted."""
    seen = set()

    def wrapped(request: Any, *policies: Any) -> Any:
        result = evaluate(request, *policies)
        if request.principal_type == "AssumedRole" and result.decision == "Allow":
            role = iam_evaluator._role_name_from_assumed_arn(request.principal_arn)
            used = (role, result.matched_sid, request.action)
            if used not in seen:
                seen.add(used)
                line = json.dumps({"role": role, "statement": result.matched_sid, "action": request.action})
                sys.stdout.write(f"used-permission {line}\n")
                sys.stdout.flush()
        return result

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
    ec2._parse_ip_permissions = for_prefix_lists(ec2._parse_ip_permissions)
    ec2._sg_rule_xml = with_prefix_list(ec2._sg_rule_xml)
    cloudcontrol._get_resource = with_buckets(cloudcontrol._get_resource)
    cloudwatch._describe_alarms = described_wholly(cloudwatch._describe_alarms)
    iam_evaluator.evaluate_trust_policy = for_this_account(iam_evaluator.evaluate_trust_policy)
    cloudwatch_logs._filter_log_events = known_by_id(cloudwatch_logs._filter_log_events)
    ecs._start_task_worker = on_this_machine(ecs._start_task_worker)
    ecs._register_metadata = as_its_role(ecs._register_metadata)
    ecs._build_run_kwargs = confined(ecs._build_run_kwargs)
    iam_evaluator.evaluate = reported(iam_evaluator.evaluate)
    iam_evaluator.enforce = with_their_keys(iam_evaluator.enforce)
    sqs._receive_messages_for_esm = received_as_its_role(sqs._receive_messages_for_esm)
    sqs.queue_policy_allows = delivered_encrypted(sqs.queue_policy_allows)
    eventbridge._dispatch_to_sqs = dispatched_encrypted(eventbridge._dispatch_to_sqs)
    lambda_svc._emit_lambda_logs = logged_as_its_role(lambda_svc._emit_lambda_logs)
    lambda_runtime.Worker._drain_stderr_bounded = heard_out(lambda_runtime.Worker._drain_stderr_bounded)
    ministack.main()
