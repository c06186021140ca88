"""Corrections of MiniStack's ECS, and the part of Application Auto Scaling that an ECS service needs."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from ministack.core.responses import error_response_json, json_response  # type: ignore[import-not-found]
from ministack.services import ecr, ecs  # type: ignore[import-not-found]

Response = tuple[int, dict[str, str], bytes]
Action = Callable[[dict[str, Any]], Response]

#: Seconds after the first cluster of the account until ECS can assume the service-linked role that it has created. AWS
#: names no time.
#: https://github.com/hashicorp/terraform-provider-aws/issues/19977
SERVICE_ROLE_DELAY_S = 20

#: Seconds between SIGTERM and SIGKILL, if the container definition has no `stopTimeout`.
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
STOP_TIMEOUT_S = 30


def correct(actions: MutableMapping[str, Action]) -> None:
    """Replace the actions of ECS that differ from AWS."""
    actions["RegisterTaskDefinition"] = normalize_definition(actions["RegisterTaskDefinition"])
    for name in ("CreateService", "UpdateService", "RunTask"):
        actions[name] = reject_inactive_definition(actions[name])
    for name in ("CreateService", "UpdateService"):
        actions[name] = keep_zone_rebalancing(actions[name])
    role = ServiceRole()
    actions["CreateCluster"] = role.create(actions["CreateCluster"])
    for name in ("CreateService", "PutClusterCapacityProviders", "RunTask"):
        actions[name] = role.assume(actions[name])
    started: set[str] = set()
    actions["RunTask"] = remember_tasks(actions["RunTask"], started)
    actions["DescribeTasks"] = miss_new_tasks(actions["DescribeTasks"], started)
    actions["StopTask"] = stop_containers(actions["StopTask"])


def normalize_definition(register: Action) -> Action:
    """Store container definitions like ECS: without empty variables, and with both lists of capabilities.

    https://github.com/hashicorp/terraform-provider-aws/issues/39533
    https://github.com/braintrustdata/terraform-aws-braintrust-data-plane/pull/335
    """

    def wrapped(data: dict[str, Any]) -> Response:
        for container in data.get("containerDefinitions", []):
            variables = container.get("environment", [])
            container["environment"] = [each for each in variables if each.get("value")]
            if capabilities := container.get("linuxParameters", {}).get("capabilities"):
                container["linuxParameters"]["capabilities"] = {"add": [], "drop": [], **capabilities}
        return register(data)

    return wrapped


def reject_inactive_definition(action: Action) -> Action:
    """Reject a task definition that was deregistered.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterTaskDefinition.html
    """

    def wrapped(data: dict[str, Any]) -> Response:
        definition = ecs._task_defs.get(ecs._resolve_td_key(data.get("taskDefinition") or "")) or {}
        if definition.get("status") == "INACTIVE":
            return error_response_json("ClientException", "TaskDefinition is inactive")  # type: ignore[no-any-return]
        return action(data)

    return wrapped


def keep_zone_rebalancing(action: Action) -> Action:
    """Describe services with their `availabilityZoneRebalancing`, which MiniStack drops."""

    def wrapped(data: dict[str, Any]) -> Response:
        response = action(data)
        name = data.get("serviceName") or data.get("service", "").rpartition("/")[2]
        service = ecs._services.get(f"{ecs._resolve_cluster_name(data.get('cluster', 'default'))}/{name}")
        if service is not None and "availabilityZoneRebalancing" in data:
            service["availabilityZoneRebalancing"] = data["availabilityZoneRebalancing"]
        return response

    return wrapped


class ServiceRole:
    """The service-linked role of ECS, which the first cluster of an account creates."""

    def __init__(self) -> None:
        self._created: float | None = None

    def create(self, create_cluster: Action) -> Action:
        def wrapped(data: dict[str, Any]) -> Response:
            self._created = self._created or time.monotonic()
            return create_cluster(data)

        return wrapped

    def assume(self, action: Action) -> Action:
        """Reject the action as long as ECS cannot assume the role."""

        def wrapped(data: dict[str, Any]) -> Response:
            if self._created is not None and time.monotonic() < self._created + SERVICE_ROLE_DELAY_S:
                return error_response_json(  # type: ignore[no-any-return]
                    "InvalidParameterException",
                    "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
                )
            return action(data)

        return wrapped


def remember_tasks(run_task: Action, started: set[str]) -> Action:
    """Add the ARNs of new tasks to `started`."""

    def wrapped(data: dict[str, Any]) -> Response:
        response = run_task(data)
        started.update(task["taskArn"] for task in json.loads(response[2]).get("tasks", []))
        return response

    return wrapped


def miss_new_tasks(describe: Action, started: set[str]) -> Action:
    """Report each new task as missing once, because ECS is eventually consistent.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
    """

    def wrapped(data: dict[str, Any]) -> Response:
        missing = [arn for arn in data.get("tasks", []) if arn in started]
        started.difference_update(missing)
        status, headers, body = describe({**data, "tasks": [arn for arn in data["tasks"] if arn not in missing]})
        if not missing or status >= 300:
            return status, headers, body
        described = json.loads(body)
        described["failures"] += [{"arn": arn, "reason": "MISSING"} for arn in missing]
        return json_response(described)  # type: ignore[no-any-return]

    return wrapped


def stop_containers(stop: Action) -> Action:
    """Send SIGTERM to a running container, and let the task run until the container has ended.

    MiniStack marks the task as stopped at once, with exit code 0, and kills its container after five seconds.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html
    """

    def wrapped(data: dict[str, Any]) -> Response:
        task = ecs._resolve_task(data["task"], ecs._resolve_cluster_name(data.get("cluster", "default")))
        engine = ecs._get_docker()
        if task is None or engine is None or task["lastStatus"] != "RUNNING":
            return stop(data)
        (container,) = ecs._task_defs[ecs._resolve_td_key(task["taskDefinitionArn"])]["containerDefinitions"]
        (running,) = task["_docker_ids"]

        def end() -> None:
            # MiniStack watches the container, and marks the task as stopped with its exit code.
            engine.containers.get(running).stop(timeout=container.get("stopTimeout", STOP_TIMEOUT_S))

        threading.Thread(target=end, daemon=True).start()
        return json_response({"task": ecs._sanitize(task)})  # type: ignore[no-any-return]

    return wrapped


def use_token_of_ecr(resolve: Callable[..., Any]) -> Callable[..., Any]:
    """Pull images of ECR with the token that the execution role can get."""

    def wrapped(container: dict[str, Any]) -> Any:
        if ".dkr.ecr." not in container["image"]:
            return resolve(container)
        (authorization,) = json.loads(ecr._get_authorization_token({})[2])["authorizationData"]
        user, _, password = base64.b64decode(authorization["authorizationToken"]).decode().partition(":")
        return {"username": user, "password": password}

    return wrapped


def pull_missing_image(start: Callable[..., Any]) -> Callable[..., Any]:
    """Pull an image that the engine does not have, and report a failure with the reason of ECS.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
    """

    def wrapped(engine: Any, container: dict[str, Any], run: dict[str, Any], **options: Any) -> Any:
        try:
            return start(engine, container, run, **options)
        except Exception as error:
            # The package `docker`, which has a class for this error, is not installed everywhere.
            if getattr(error, "status_code", None) != 404:
                raise
        credentials = ecs._resolve_repository_credentials(container)
        pull = {"refresh_image": True, "allow_cached": False, "auth_config": credentials}
        return start(engine, container, run, **{**options, **pull})

    return wrapped


class ApplicationAutoScaling:
    """Scalable targets and scaling policies: they are stored and described, and never scale anything.

    MiniStack does not have this service.
    """

    target_prefix = "AnyScaleFrontendService"

    def __init__(self) -> None:
        self._targets: dict[str, dict[str, Any]] = {}
        self._policies: dict[str, dict[str, Any]] = {}

    async def handle(self, _method: str, _path: str, headers: dict[str, str], body: bytes, _query: Any) -> Response:
        action = headers["x-amz-target"].removeprefix(f"{self.target_prefix}.")
        described = getattr(self, f"_{action}")(json.loads(body))
        return json_response(described, content_type="application/x-amz-json-1.1")  # type: ignore[no-any-return]

    def _RegisterScalableTarget(self, data: dict[str, Any]) -> dict[str, Any]:
        resource = data["ResourceId"]
        arn = f"arn:aws:application-autoscaling:{ecs.get_region()}:{ecs.get_account_id()}:scalable-target/{resource}"
        known = self._targets.get(resource, {"Tags": {}, "CreationTime": time.time(), "ScalableTargetARN": arn})
        self._targets[resource] = {"RoleARN": f"arn:aws:iam::{ecs.get_account_id()}:role/scaling", **known, **data}
        return {"ScalableTargetARN": arn}

    def _DescribeScalableTargets(self, data: dict[str, Any]) -> dict[str, Any]:
        wanted = data.get("ResourceIds") or self._targets
        hidden = ("Tags",)
        targets = [self._targets[resource] for resource in wanted if resource in self._targets]
        return {"ScalableTargets": [{k: v for k, v in each.items() if k not in hidden} for each in targets]}

    def _DeregisterScalableTarget(self, data: dict[str, Any]) -> dict[str, Any]:
        self._targets.pop(data["ResourceId"], None)
        return {}

    def _PutScalingPolicy(self, data: dict[str, Any]) -> dict[str, Any]:
        name = data["PolicyName"]
        arn = f"arn:aws:autoscaling:{ecs.get_region()}:{ecs.get_account_id()}:scalingPolicy:policyName/{name}"
        self._policies[name] = {"PolicyARN": arn, "CreationTime": time.time(), "Alarms": [], **data}
        return {"PolicyARN": arn, "Alarms": []}

    def _DescribeScalingPolicies(self, data: dict[str, Any]) -> dict[str, Any]:
        wanted = data.get("PolicyNames") or self._policies
        return {"ScalingPolicies": [self._policies[name] for name in wanted if name in self._policies]}

    def _DeleteScalingPolicy(self, data: dict[str, Any]) -> dict[str, Any]:
        self._policies.pop(data["PolicyName"], None)
        return {}

    def _of(self, arn: str) -> dict[str, str]:
        tags: dict[str, str] = next(each["Tags"] for each in self._targets.values() if each["ScalableTargetARN"] == arn)
        return tags

    def _ListTagsForResource(self, data: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": self._of(data["ResourceARN"])}

    def _TagResource(self, data: dict[str, Any]) -> dict[str, Any]:
        self._of(data["ResourceARN"]).update(data["Tags"])
        return {}

    def _UntagResource(self, data: dict[str, Any]) -> dict[str, Any]:
        for key in data["TagKeys"]:
            self._of(data["ResourceARN"]).pop(key, None)
        return {}
