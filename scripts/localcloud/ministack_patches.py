"""Run MiniStack with corrections where it differs from AWS and s3-syncer relies on AWS's behaviour.

It runs in the separate virtual environment of the emulator, which pins the version of MiniStack. Each correction below
says what it corrects. It can be removed when MiniStack behaves so itself.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from ministack import app as ministack  # type: ignore[import-not-found]
from ministack.core import (  # type: ignore[import-not-found]
    iam_actions,
    iam_evaluator,
    lambda_runtime,
    responses,
    router,
)
from ministack.services import (  # type: ignore[import-not-found]
    cloudcontrol,
    cloudwatch,
    cloudwatch_logs,
    ec2,
    ecr,
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

from localcloud import (
    alarm_patches,
    ecr_patches,
    ecs_patches,
    message_ages,
    recursion_patches,
    throttle_patches,
)

TAG_COUNT = "x-amz-tagging-count"

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

# The KMS actions that a caller needs in addition, by the action on an encrypted object, secret or queue.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
KMS_ACTIONS = {
    "s3:GetObject": ["kms:Decrypt"],
    "secretsmanager:GetSecretValue": ["kms:Decrypt"],
    "sqs:ReceiveMessage": ["kms:Decrypt"],
    "sqs:SendMessage": ["kms:GenerateDataKey", "kms:Decrypt"],
}

# The actions that the function's role needs for an event source mapping.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
MAPPING_ACTIONS = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]


def treat_requests_as_tls(application: Application) -> Application:
    """Treat all requests as made over TLS, like those to AWS.

    The queues deny requests without TLS, and MiniStack enforces that. MiniStack can serve TLS, but no S3 client trusts
    its certificate. So every request gets the header that a TLS proxy would add.
    """

    async def wrapped(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
        await application(scope, receive, send)

    return wrapped


def authorize_batches_as_single_requests(action_of: Callable[..., str | None]) -> Callable[..., str | None]:
    """Check the permission of the single request for a batch request of SQS, because IAM has no other.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
    """

    def wrapped(*args: Any, **kwargs: Any) -> str | None:
        action = action_of(*args, **kwargs)
        return action.removesuffix("Batch") if action and action.startswith("sqs:") else action

    return wrapped


def describe_all_alarm_properties(describe: Callable[..., Any]) -> Callable[..., Any]:
    """Describe alarms with all their properties in XML too, as in JSON.

    Terraform reads the XML. It would change every alarm with missing properties at every apply.
    """

    def wrapped(params: Any, data: Any, is_cbor: bool, is_json: bool = False) -> Any:
        if is_cbor or is_json:
            return describe(params, data, is_cbor, is_json)
        status, headers, body = describe(params, query_as_json(params), False, True)
        if status != 200:
            return status, headers, body
        result = f"<DescribeAlarmsResult>{as_xml(json.loads(body))}</DescribeAlarmsResult>"
        return cloudwatch._xml(status, "DescribeAlarmsResponse", result)

    return wrapped


def keep_metrics_of_alarms(put: Callable[..., Any]) -> Callable[..., Any]:
    """Store the metrics of an alarm on an expression, which has no other period and no other statistic."""

    def wrapped(params: Any, data: Any, is_cbor: bool, is_json: bool = False) -> Any:
        response = put(params, data, is_cbor, is_json)
        request = data if is_cbor or is_json else query_as_json(params)
        if (alarm := cloudwatch._alarms.get(request["AlarmName"])) and request.get("Metrics"):
            del alarm["Period"], alarm["Statistic"]
            alarm["Metrics"] = request["Metrics"]
        return response

    return wrapped


def query_as_json(params: dict[str, list[str]]) -> Any:
    """Return the parameters of the query protocol as JSON, with numbers and truth values."""
    tree: dict[str, Any] = {}
    for name in sorted(params):
        *path, last = name.split(".")
        text = cloudwatch._p(params, name)
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = json.loads(text) if re.fullmatch(r"\d+|true|false", text) else text
    return lists_of(tree)


def lists_of(node: Any) -> Any:
    """Return a tree of query parameters with its `member.N` as lists."""
    if not isinstance(node, dict):
        return node
    if node.keys() == {"member"} and isinstance(node["member"], dict):
        return [lists_of(each) for _, each in sorted(node["member"].items(), key=lambda item: int(item[0]))]
    return {name: lists_of(each) for name, each in node.items()}


def describe_buckets(get_resource: Callable[..., Any]) -> Callable[..., Any]:
    """Describe existing buckets in Cloud Control, with the property that the module reads: notifications.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-s3-bucket-notificationconfiguration.html
    """

    def wrapped(data: Any) -> Any:
        name = data.get("Identifier")
        if data.get("TypeName") == "AWS::S3::Bucket" and name in s3._buckets:
            properties = {"BucketName": name, **cloudformation_notifications(s3._bucket_notifications.get(name) or "")}
            cloudcontrol._resources[cloudcontrol._resource_key("AWS::S3::Bucket", name)] = {
                "TypeName": "AWS::S3::Bucket",
                "Identifier": name,
                "Properties": json.dumps(properties),
            }
        return get_resource(data)

    return wrapped


def cloudformation_notifications(document: str) -> dict[str, Any]:
    """Return a bucket's notification document as CloudFormation's properties."""
    kinds = {"sqs": ("Queue", "Queue"), "sns": ("Topic", "Topic"), "lambda": ("Lambda", "Function")}
    properties: dict[str, Any] = {}
    for each in s3._parse_notification_config_raw(document):
        kind, destination = kinds[each["type"]]
        for event in each["events"]:
            properties.setdefault(f"{kind}Configurations", []).append({"Event": event, destination: each["arn"]})
    if "EventBridgeConfiguration" in document:
        properties["EventBridgeConfiguration"] = {"EventBridgeEnabled": True}
    return {"NotificationConfiguration": properties} if properties else {}


def parse_prefix_lists(parse: Callable[..., list[dict[str, Any]]]) -> Callable[..., list[dict[str, Any]]]:
    """Read prefix lists in the rules of security groups.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html
    """

    def wrapped(params: Any, prefix: str) -> list[dict[str, Any]]:
        rules = parse(params, prefix)
        for number, rule in enumerate(rules, start=1):
            lists = (ec2._p(params, f"{prefix}.{number}.PrefixListIds.{i}.PrefixListId") for i in range(1, 101))
            rule["PrefixListIds"] = [{"PrefixListId": each} for each in lists if each]
        return rules

    return wrapped


def show_prefix_list(rule_as_xml: Callable[..., str]) -> Callable[..., str]:
    """Describe a security group's rule with its prefix list.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRule.html
    """

    def wrapped(group: str, rule: dict[str, Any], is_egress: bool = False) -> str:
        item = rule_as_xml(group, rule, is_egress)
        for each in rule.get("PrefixListIds", []):
            item = item.replace("</item>", f"<prefixListId>{each['PrefixListId']}</prefixListId></item>")
        return item

    return wrapped


def add_account_to_trust_context(permits: Callable[..., bool]) -> Callable[..., bool]:
    """Add this account to the request context when root assumes a role.

    Root takes the place of ECS or of another service here. A role's trust policy may demand the account, to prevent
    that another account makes the service assume the role (confused deputy).
    """

    def wrapped(document: Any, caller: str, context: Any = None) -> bool:
        if context is not None and context.principal_type == "Root":
            account = context.principal_account
            task = f"arn:aws:ecs:{context.region}:{account}:task/assumed-by-root"
            values = {**context.service_context, "aws:sourceaccount": account, "aws:sourcearn": task}
            context = replace(context, service_context=values)
        return permits(document, caller, context)

    return wrapped


def send_tagging_events(change: Callable[..., Any], event: str) -> Callable[..., Any]:
    """Send the event of a successful change of an object's tags, which MiniStack does not send.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-event-types-and-destinations.html
    """

    def wrapped(bucket: str, key: str, *rest: Any) -> Any:
        status, headers, body = change(bucket, key, *rest)
        if status < 300:
            etag = s3._buckets[bucket]["objects"][key].get("etag", "")
            s3._fire_s3_event_async(bucket, key, event, etag=etag, version_id=headers.get("x-amz-version-id"))
        return status, headers, body

    return wrapped


def date_uploads_by_initiation(complete: Callable[..., Any]) -> Callable[..., Any]:
    """Give an object of several parts the time at which its upload was initiated.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
    """

    def wrapped(bucket: str, key: str, body: bytes, query: Any, *rest: Any) -> Any:
        upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
        response = complete(bucket, key, body, query, *rest)
        if upload is not None and response[0] < 300:
            s3._buckets[bucket]["objects"][key]["last_modified"] = upload["created"]
        return response

    return wrapped


def count_tags_for_readers(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return the number of tags with an object, to a caller that may read its tags.

    MiniStack returns it for GET only, and to every caller.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
    """

    def wrapped(bucket: str, key: str, headers: dict[str, str], query: dict[str, Any] | None = None) -> Any:
        status, found, body = read(bucket, key, headers, query)
        found.pop(TAG_COUNT, None)
        if status < 300:
            version = s3._qp(query or {}, "versionId") or s3._buckets[bucket]["objects"][key].get("version_id")
            count = s3._object_tagging_count_header(bucket, key, version)
            action = "s3:GetObjectVersionTagging" if s3._qp(query or {}, "versionId") else "s3:GetObjectTagging"
            if count and may_call(action, f"arn:aws:s3:::{bucket}/{key}", headers, query):
                found |= count
        return status, found, body

    return wrapped


def may_call(action: str, resource: str, headers: dict[str, str], query: dict[str, Any] | None) -> bool:
    """Return True if the sender of the request may also do this action."""
    caller = router.extract_access_key_id(headers, query) or ""
    return iam_evaluator.enforce(caller, action, action.partition(":")[0], "", resource) is None


def use_host_network(start: Callable[..., None]) -> Callable[..., None]:
    """Let containers of tasks use this machine's network, because both stores listen on its loopback."""

    def wrapped(task: Any, definition: Any, *rest: Any) -> None:
        start(task, {**definition, "networkMode": "host"}, *rest)

    return wrapped


def pass_role_credentials(register: Callable[..., str]) -> Callable[..., str]:
    """Give containers of tasks the credentials of their role, in environment variables.

    MiniStack has a credentials endpoint, like ECS, but it does not know those credentials when it enforces IAM.
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


def apply_container_limits(build: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Apply the user, the capabilities and the read-only root file system of the container definition."""

    def wrapped(container: Any, *rest: Any) -> dict[str, Any]:
        capabilities = container.get("linuxParameters", {}).get("capabilities", {})
        return {
            **build(container, *rest),
            "user": container.get("user"),
            "read_only": container.get("readonlyRootFilesystem", False),
            "cap_drop": capabilities.get("drop"),
        }

    return wrapped


def add_event_ids(find: Callable[..., Any]) -> Callable[..., Any]:
    """Give every log event an ID, also the events of functions, as on AWS.

    A reader that polls the log finds the new events by their IDs.
    """

    def wrapped(data: Any) -> Any:
        group = cloudwatch_logs._log_groups.get(data.get("logGroupName"), {})
        for stream in list(group.get("streams", {}).values()):
            for event in list(stream["events"]):
                event.setdefault("eventId", secrets.token_hex(16))
        return find(data)

    return wrapped


def match_optional_terms(compile_pattern: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let a pattern such as `?ERROR ?"timed out"` match each line that has one of its terms.

    MiniStack takes the question marks for a part of the terms, and wants them all.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """

    def wrapped(pattern: str) -> Any:
        if not pattern.strip().startswith("?"):
            return compile_pattern(pattern)
        terms = [quoted or bare for quoted, bare in re.findall(r'\?(?:"([^"]*)"|(\S+))', pattern)]
        return lambda message: any(term in message for term in terms)

    return wrapped


def remember_key_of_messages(set_attributes: Callable[..., Any]) -> Callable[..., Any]:
    """Keep messages under the key with which they were sent, when the queue gets another key.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
    """

    def wrapped(data: Any, url: str) -> Any:
        queue = sqs._get_q(data.get("QueueUrl", url))
        key = queue["attributes"].get("KmsMasterKeyId")
        response = set_attributes(data, url)
        if queue["attributes"].get("KmsMasterKeyId") != key:
            for message in queue["messages"]:
                message.setdefault("kms_key", key)
        return response

    return wrapped


def change_keys_of_log_groups(handle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Store the key that a log group gets or loses after its creation, which MiniStack rejects."""

    async def wrapped(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(("AssociateKmsKey", "DisassociateKmsKey")):
            request = json.loads(body)
            cloudwatch_logs._log_groups[request["logGroupName"]]["kmsKeyId"] = request.get("kmsKeyId")
            return cloudwatch_logs.json_response({})
        return await handle(method, path, headers, body, query)

    return wrapped


def kms_keys_of(action: str, resource: str) -> set[str]:
    """Return the ARNs of the customer's keys that the action on this resource needs."""
    named: set[str | None] = set()
    if action not in KMS_ACTIONS:
        return set()
    if action.startswith("sqs:"):
        queue = sqs._queue_by_arn(resource) or {}
        named = {(queue.get("attributes") or {}).get("KmsMasterKeyId")}
        if action == "sqs:ReceiveMessage":
            named |= {message["kms_key"] for message in queue.get("messages", []) if "kms_key" in message}
    elif action.startswith("secretsmanager:"):
        named = {(secretsmanager._resolve(resource)[1] or {}).get("KmsKeyId")}
    else:
        request = iam_evaluator._signed_request.get()
        if request is not None and request.method == "HEAD":  # a HEAD returns no encrypted data
            return set()
        bucket, _, key = resource.rpartition(":")[2].partition("/")
        stored = (s3._buckets.get(bucket) or {}).get("objects", {}).get(unquote(key)) or {}
        named = {(stored.get("preserved_headers") or {}).get("x-amz-server-side-encryption-aws-kms-key-id")}
    return {found["Arn"] for name in named if name and (found := kms._resolve_key(name))}


def enforce_kms_permissions(enforce: Callable[..., Any]) -> Callable[..., Any]:
    """Check the caller's permissions on the customer's key too. MiniStack stores only its name."""

    def wrapped(
        caller: str, action: str, service: str, region: str, resource: str = "*", *rest: Any, **named: Any
    ) -> Any:
        resource = named.pop("resource_arn", resource)
        denied = enforce(caller, action, service, region, resource, *rest, **named)
        if denied:
            return denied
        via = {"kms:ViaService": f"{service}.{region}.amazonaws.com"}
        denials = (
            enforce(caller, needed, "kms", region, key, via)
            for key in kms_keys_of(action, resource)
            for needed in KMS_ACTIONS[action]
        )
        return next((denied for denied in denials if denied), None)

    return wrapped


def check_characters_of_policy(put: Callable[..., Any]) -> Callable[..., Any]:
    """Reject a policy with characters beyond U+00FF.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutRolePolicy.html
    """

    def wrapped(params: Any) -> Any:
        if re.fullmatch(r"[\t\n\r\x20-\xff]*", iam._p(params, "PolicyDocument")) is None:
            message = (
                "The specified value for policyDocument is invalid. It must contain only printable ASCII characters."
            )
            return iam._error(400, "ValidationError", message, ns="iam")
        return put(params)

    return wrapped


def is_role_allowed(role: str, action: str, resource: str) -> bool:
    """Return True if the role may do the action, with the keys that it needs.

    Wrappers call it where AWS acts as the role and MiniStack does not check.
    """
    account, name = role.split(":")[4], role.rpartition("/")[2]
    region = resource.split(":")[3]
    policies = iam_evaluator._gather_role_policies(name, account)
    boundary = iam_evaluator._permissions_boundary(iam._roles, name, account)

    def is_allowed(action: str, resource: str, **context: str) -> bool:
        service = action.partition(":")[0]
        request = iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:sts::{account}:assumed-role/{name}/assumed-by-service",
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
    return is_allowed(action, resource) and all(
        is_allowed(needed, key, **via) for key in kms_keys_of(action, resource) for needed in KMS_ACTIONS[action]
    )


def receive_as_function_role(receive: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Let an event source mapping receive messages only with the permissions of its function's role."""

    def wrapped(url: str, *rest: Any) -> list[Any]:
        queue = sqs._queues[url]["attributes"]["QueueArn"]
        mappings = [mapping for _, _, mapping in lambda_svc._iter_all_esms() if mapping["EventSourceArn"] == queue]
        functions = [lambda_svc._get_func_record_for_qualifier(m["FunctionName"], m.get("Qualifier")) for m in mappings]
        roles = {config["Role"] for _, config in functions if config}
        permitted = all(is_role_allowed(role, action, queue) for role in roles for action in MAPPING_ACTIONS)
        return receive(url, *rest) if permitted else []

    return wrapped


def log_as_function_role(emit: Callable[..., None]) -> Callable[..., None]:
    """Log the output of a function only with the permissions of its role."""

    def wrapped(function: Any, *rest: Any, **named: Any) -> None:
        config = function.get("config") or function
        group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{config['FunctionName']}"
        account, region = (config["FunctionArn"].split(":")[n] for n in (4, 3))
        stream = f"arn:aws:logs:{region}:{account}:log-group:{group}:log-stream:one"
        if all(
            is_role_allowed(config["Role"], action, stream) for action in ("logs:CreateLogStream", "logs:PutLogEvents")
        ):
            emit(function, *rest, **named)

    return wrapped


def wait_for_late_lines(drain: Callable[..., str]) -> Callable[..., str]:
    """Wait longer for the output of an invocation, because lines are late on a busy machine.

    MiniStack waits 50 ms for the first line and 5 ms for each further line. It logs later lines with the next
    invocation of the same process, if there is one.
    """

    def wrapped(worker: Any) -> str:
        return drain(worker, first_line_wait=2.0, idle_confirm=0.1, hard_cap=10.0)

    return wrapped


def is_key_usable_by_service(service: str, queue: str, context: dict[str, str]) -> bool:
    """Return True if the queue has no key, or if the key's policy lets the service send a message."""

    def allows(key: str, action: str) -> bool:
        policy, _ = kms.key_policy_for_arn(key)
        request = iam_evaluator.EvalContext("*", "Service", "", action, key, key.split(":")[3], service_context=context)
        return bool(iam_evaluator.evaluate_resource_policy(policy, request, service=service).decision == "Allow")

    keys, actions = kms_keys_of("sqs:SendMessage", queue), KMS_ACTIONS["sqs:SendMessage"]
    return all(allows(key, action) for key in keys for action in actions)


def check_key_policy_for_s3(allows: Callable[..., bool]) -> Callable[..., bool]:
    """Deliver events of S3 only if the policy of the queue's key allows it."""

    def wrapped(queue: str, service: str, source: str, account: str) -> bool:
        context = {"aws:sourcearn": source, "aws:sourceaccount": account}
        return allows(queue, service, source, account) and is_key_usable_by_service(service, queue, context)

    return wrapped


def check_key_policy_for_eventbridge(dispatch: Callable[..., None]) -> Callable[..., None]:
    """Deliver events of EventBridge only if the key's policy allows it, without a source in the context."""

    def wrapped(queue: Any, *rest: Any, **named: Any) -> None:
        if is_key_usable_by_service("events.amazonaws.com", str(queue), {}):
            dispatch(queue, *rest, **named)

    return wrapped


def log_used_permissions(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """Log the first use of each permission of a role, for the comparison with the granted ones."""
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


def keep_policy_of_event_bus(put: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Keep the whole policy that a PutPermission request gives. MiniStack reads single permissions only."""

    def wrapped(data: dict[str, Any]) -> Any:
        response = put(data)
        if policy := data.get("Policy"):
            eventbridge._event_bus_policies[data.get("EventBusName", "default")] = json.loads(policy)
        return response

    return wrapped


def send_to_event_buses_of_other_accounts(dispatch: Callable[..., None]) -> Callable[..., None]:
    """Deliver an event to an event bus of another account if its policy names the account of the rule.

    MiniStack drops such an event.
    """

    def wrapped(spec: Any, event: Mapping[str, Any], *arguments: Any) -> None:
        sender = responses.get_account_id()
        if spec.account_id == sender:
            dispatch(spec, event, *arguments)
            return
        request = responses._request_account_id.set(spec.account_id)
        try:
            policy = eventbridge._event_bus_policies.get(spec.resource.partition("/")[2], {"Statement": []})
            if any(f":iam::{sender}:root" in json.dumps(each["Principal"]) for each in policy["Statement"]):
                dispatch(spec, event, *arguments)
        finally:
            responses._request_account_id.reset(request)

    return wrapped


def as_xml(value: Any) -> str:
    """Return JSON in the XML of the query protocol.

    Times are left out: they are numbers in JSON and would have to be dates in XML.
    """
    if isinstance(value, dict):
        parts = {name: part for name, part in value.items() if part is not None and not name.endswith("Timestamp")}
        return "".join(f"<{name}>{as_xml(part)}</{name}>" for name, part in parts.items())
    if isinstance(value, list):
        return "".join(f"<member>{as_xml(part)}</member>" for part in value)
    return escape(json.dumps(value) if isinstance(value, bool) else str(value))


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH")  # the functions that MiniStack runs must not find this package
    ministack.app = message_ages.age_on_request(treat_requests_as_tls(ministack.app))
    iam_actions.extract_iam_action = authorize_batches_as_single_requests(iam_actions.extract_iam_action)
    ec2._parse_ip_permissions = parse_prefix_lists(ec2._parse_ip_permissions)
    ec2._sg_rule_xml = show_prefix_list(ec2._sg_rule_xml)
    cloudcontrol._get_resource = describe_buckets(cloudcontrol._get_resource)
    cloudwatch._describe_alarms = describe_all_alarm_properties(cloudwatch._describe_alarms)
    for name in ("_describe_alarms", "_describe_alarms_for_metric"):
        setattr(cloudwatch, name, alarm_patches.know_states(getattr(cloudwatch, name)))
    cloudwatch._evaluate_alarm = alarm_patches.evaluate
    cloudwatch._evict_old_metrics = alarm_patches.keep_data_points
    for name in ("_get_metric_data", "_get_metric_statistics", "_list_metrics"):
        setattr(cloudwatch, name, alarm_patches.know_queues(getattr(cloudwatch, name)))
    cloudwatch_logs._put_metric_filter = alarm_patches.refuse_unknown_patterns(cloudwatch_logs._put_metric_filter)
    cloudwatch_logs._fanout_to_subscription_filters = alarm_patches.count_log_lines(
        cloudwatch_logs._fanout_to_subscription_filters
    )
    cloudwatch._put_metric_alarm = keep_metrics_of_alarms(cloudwatch._put_metric_alarm)
    iam_evaluator.evaluate_trust_policy = add_account_to_trust_context(iam_evaluator.evaluate_trust_policy)
    ministack.SERVICE_HANDLERS["logs"] = change_keys_of_log_groups(ministack.SERVICE_HANDLERS["logs"])
    cloudwatch_logs._compile_filter_pattern = match_optional_terms(cloudwatch_logs._compile_filter_pattern)
    cloudwatch_logs._filter_log_events = add_event_ids(cloudwatch_logs._filter_log_events)
    ecr.handle_registry_request = ecr_patches.require_login(ecr.handle_registry_request)
    ecs_patches.correct(ecs._ACTION_MAP)
    scaling = ecs_patches.ApplicationAutoScaling()
    router.SERVICE_PATTERNS["application-autoscaling"] = {"target_prefixes": [scaling.target_prefix]}
    ministack.SERVICE_HANDLERS["application-autoscaling"] = scaling.handle
    ecs._start_task_worker = use_host_network(ecs._start_task_worker)
    ecs._register_metadata = pass_role_credentials(ecs._register_metadata)
    ecs._resolve_repository_credentials = ecs_patches.use_token_of_ecr(ecs._resolve_repository_credentials)
    ecs._run_docker_container = ecs_patches.pull_missing_image(ecs._run_docker_container)
    ecs._build_run_kwargs = apply_container_limits(ecs._build_run_kwargs)
    iam_evaluator.evaluate = log_used_permissions(iam_evaluator.evaluate)
    iam_evaluator.enforce = enforce_kms_permissions(iam_evaluator.enforce)
    ministack.SERVICE_HANDLERS["sqs"] = recursion_patches.note_depth_of_requests(ministack.SERVICE_HANDLERS["sqs"])
    for name in ("SendMessage", "SendMessageBatch"):
        sqs._HANDLERS[name] = recursion_patches.keep_depth_of_messages(sqs._HANDLERS[name])
    lambda_svc._run_sqs_batch = recursion_patches.stop_long_chains(lambda_svc._run_sqs_batch)
    lambda_svc._run_sqs_batch = throttle_patches.note_end_of_batch(lambda_svc._run_sqs_batch)
    lambda_svc._sqs_esm_concurrency = throttle_patches.ignore_reserved_concurrency(lambda_svc._sqs_esm_concurrency)
    lambda_svc._execute_function = throttle_patches.repeat_throttled_batches(lambda_svc._execute_function)
    lambda_svc._acquire_execution_slot = throttle_patches.measure_concurrency(lambda_svc._acquire_execution_slot)
    iam._IAM_HANDLERS["PutRolePolicy"] = check_characters_of_policy(iam._IAM_HANDLERS["PutRolePolicy"])
    sqs._HANDLERS["SetQueueAttributes"] = remember_key_of_messages(sqs._HANDLERS["SetQueueAttributes"])
    sqs._dlq_sweep = alarm_patches.note_moves(sqs._dlq_sweep)
    sqs._receive_messages_for_esm = receive_as_function_role(sqs._receive_messages_for_esm)
    s3._put_object_tagging = send_tagging_events(s3._put_object_tagging, "s3:ObjectTagging:Put")
    s3._delete_object_tagging = send_tagging_events(s3._delete_object_tagging, "s3:ObjectTagging:Delete")
    for name in ("_get_object", "_head_object"):
        setattr(s3, name, count_tags_for_readers(getattr(s3, name)))
    s3._complete_multipart_upload = date_uploads_by_initiation(s3._complete_multipart_upload)
    sqs.queue_policy_allows = check_key_policy_for_s3(sqs.queue_policy_allows)
    eventbridge._dispatch_to_sqs = check_key_policy_for_eventbridge(eventbridge._dispatch_to_sqs)
    eventbridge._put_permission = keep_policy_of_event_bus(eventbridge._put_permission)
    eventbridge._dispatch_to_event_bus = send_to_event_buses_of_other_accounts(eventbridge._dispatch_to_event_bus)
    lambda_svc._emit_lambda_logs = log_as_function_role(lambda_svc._emit_lambda_logs)
    lambda_svc._emit_lambda_logs = alarm_patches.count_invocations(lambda_svc._emit_lambda_logs)
    lambda_runtime.Worker._drain_stderr_bounded = wait_for_late_lines(lambda_runtime.Worker._drain_stderr_bounded)
    ministack.main()
