"""Test the changes that each input causes, planned from the state of the example `complete`.

That example sets every input. One plan covers all cases: the state has the module once for each case, under the name of
the case. In each case one input has another value than in the apply.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hcl2.query.body import DocumentView
from tests.infra.examples import Example, Examples

from devtools import module_docs
from devtools.bootstrap import ROOT

COMPLETE = ROOT / "examples" / "complete"

# The new value of each input, or of each attribute of an object.
CASES: dict[str, Any] = {
    "source_bucket": "my-invoices",  # a bucket without notifications, so that the plan succeeds
    "source_account_id": "000000000000",  # the account of the module; another one excludes enable_bucket_eventbridge
    "source_role_arn": "arn:aws:iam::000000000000:role/reader",
    "target.endpoint": "https://s3.example.com",
    "target.region": "elsewhere",
    "target.bucket": "other-mirror",
    "target.prefix": "",
    "target.addressing_style": "virtual",
    "target.payload_signing": True,
    "target.ca_certificate": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    "target.storage_class": "STANDARD_IA",
    "target.server_side_encryption": "AES256",
    "target.sse_kms_key_id": "other-key",
    "target.acl": "bucket-owner-full-control",
    "target.limits": {"max_parts": 1000},
    "name": f"N{'-_' * 31}-",  # the longest name, with every kind of character
    "source_prefix": "other/",
    "filters.include": ["*.csv"],
    "filters.exclude": ["*.bak"],
    "filters.min_size": "2B",
    "filters.max_size": "2G",
    "credentials_secret.arn": "arn:aws:secretsmanager:eu-west-1:000000000000:secret:other-AbCdEf",
    "target_credentials_version": 2,
    "notification_mode": "none",
    "enable_bucket_eventbridge": False,
    "existing_notifications": "overwrite",
    "notification_topic_arns": ["arn:aws:sns:eu-west-1:000000000000:events"],
    "deletes.enabled": False,
    "deletes.delay_s": 120,
    "deletes.hold_above": -1,
    "paused": True,
    "sync.tags": False,
    "sync.object_lock": True,
    "sync.max_concurrency": 19,
    "sync.batch_size": 60,
    "sync.batch_window_s": 3,
    "sync.max_receive_count": 99,
    "sync.distributed_copy_threshold_mb": 2048,
    "bulk.max_concurrency": 9,
    "reconcile.schedule": None,
    "reconcile.delete": False,
    "reconcile.max_delete": 1,
    "reconcile.full": True,
    "function.enabled": False,
    "function.memory_mb": 1024,
    "function.timeout_s": 600,
    "function.architecture": "x86_64",
    "function.runtime": "python3.12",
    "function.reserved_concurrency": 41,
    "function.log_level": "DEBUG",
    "function.package_path": str(COMPLETE / "main.tf"),  # any other file
    "function.vpc": None,
    "function.vpc_permissions": True,
    "environment": {"HTTPS_PROXY": "http://proxy.example.com:3128"},
    "ecs.image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/tools:1",
    "ecs.architecture": "X86_64",
    "ecs.cluster": {"arn": "arn:aws:ecs:eu-west-1:000000000000:cluster/other"},
    "ecs.subnet_ids": ["subnet-1"],
    "ecs.security_group_ids": [],
    "ecs.assign_public_ip": True,
    "ecs.bwlimit": "50M",
    "migration.enabled": False,
    "migration.cpu": 1024,
    "migration.memory_mb": 5120,
    "migration.restore": True,
    "migration.arguments": [],
    "service.enabled": True,
    "service.min_tasks": 1,
    "service.max_tasks": 2,
    "service.backlog_per_task": 1,
    "service.concurrency": 1,
    "service.bulk_concurrency": 1,
    "service.spot_percent": 0,
    "service.log_level": "DEBUG",
    "service.cpu": 512,
    "service.memory_mb": 4096,
    "service.arguments": [],
    "source_kms_key_arns": [],
    "kms_key_arn": "arn:aws:kms:eu-west-1:000000000000:key/00000000-0000-0000-0000-000000000000",
    "previous_kms_key_arns": ["arn:aws:kms:eu-west-1:000000000000:key/11111111-0000-0000-0000-000000000000"],
    "role_path": "/other/",
    "permissions_boundary_arn": None,
    "log_retention_days": 7,
    "alarm_actions": [],
    "max_lag_s": None,
    "event_bus_arn": "arn:aws:events:eu-west-1:000000000000:event-bus/operations",
    "max_retry_s": 300,
    "metrics": False,
    "dashboard": False,
    "tags": {"team": "other"},
}

# Inputs that must change with the case, so that the plan is valid.
BESIDES: dict[str, dict[str, object]] = {
    "target.sse_kms_key_id": {"target": {"sse_kms_key_id": "other-key", "server_side_encryption": "aws:kms"}},
    "notification_mode": {"enable_bucket_eventbridge": False},
    "credentials_secret.arn": {"target_credentials_version": None},
    "function.enabled": {"service": {"enabled": True}},
    "function.vpc_permissions": {"function": {"vpc": None, "vpc_permissions": True}},
}

# Expected changes: `~` in place, `±` replacement, `+` creation, `-` deletion. Changes of outputs alone are not listed.
FUNCTION, TASK = "~ aws_lambda_function.sync", '± aws_ecs_task_definition.task["migration"]'
QUEUE, BULK_QUEUE = "~ aws_sqs_queue.work", "~ aws_sqs_queue.bulk"
MAPPING, BULK_MAPPING = "~ aws_lambda_event_source_mapping.work", "~ aws_lambda_event_source_mapping.bulk"
MAPPINGS = [MAPPING, BULK_MAPPING, "~ aws_lambda_event_source_mapping.deletions"]
DELETIONS_QUEUE, HELD_DELETIONS_QUEUE = "~ aws_sqs_queue.deletions", "~ aws_sqs_queue.held_deletions"
RULE, SCHEDULE = "~ aws_cloudwatch_event_rule.source[0]", "~ aws_scheduler_schedule.reconcile[0]"
DASHBOARD = "~ aws_cloudwatch_dashboard.sync[0]"
SECRET = "~ aws_secretsmanager_secret.target_credentials[0]"
READERS = ["~ aws_iam_role_policy.function", '~ aws_iam_role_policy.task["migration"]']
ROLES = ["function", 'task["migration"]', 'task["execution"]', "reconcile[0]"]
LOG_GROUPS = ["~ aws_cloudwatch_log_group.function", '~ aws_cloudwatch_log_group.task["migration"]']
REPOSITORY = ["aws_ecr_lifecycle_policy.image[0]", "aws_ecr_repository.image[0]"]
ALARMS = [
    f'~ aws_cloudwatch_metric_alarm.sync["{key}"]'
    for key in (
        *("bulk-work-expires", "dead-letters", "deletions-expire", "errors", "events-expire", "held-deletions"),
        *("held-deletions-expire", "lag", "queue-age", "retries", "throttles"),
    )
]
RETRY_ALARMS = [f'~ aws_cloudwatch_metric_alarm.sync["{key}"]' for key in ("lag", "retries")]
WORKER_ALARMS = [*RETRY_ALARMS, '~ aws_cloudwatch_metric_alarm.sync["queue-age"]']

FIGURES_WITHOUT_ALARM = (
    *("BytesSynced", "DeadLetters", "DeletionsHeld", "DriftFailed", "DriftRepaired", "KeysCompared"),
    *("ObjectsDeleted", "ObjectsSynced", "Retries"),
)
FIGURES = (*FIGURES_WITHOUT_ALARM, "RepeatedRetries", "SyncLag")
SERVICE = [
    *("+ aws_appautoscaling_target.service[0]", "+ aws_ecs_service.service[0]"),
    *(f'+ aws_appautoscaling_policy.service["{name}"]' for name in ("busy", "idle")),
    *(f'+ aws_cloudwatch_metric_alarm.scaling["{name}"]' for name in ("busy", "idle")),
    *(f'+ aws_cloudwatch_log_metric_filter.worker["service-{name}"]' for name in FIGURES),
    *('+ aws_cloudwatch_log_group.task["service"]', "+ aws_ecs_cluster_capacity_providers.tasks[0]"),
    *('+ aws_ecs_task_definition.task["service"]', '+ aws_iam_role.task["service"]'),
    *('+ aws_iam_role_policy.task["service"]', '~ aws_iam_role_policy.task["execution"]'),
    # A description, an environment and a policy that name the workers.
    *(*WORKER_ALARMS, DASHBOARD, TASK, '~ aws_iam_role_policy.task["migration"]'),
]

EXPECTED: dict[str, list[str]] = {
    "source_bucket": [
        FUNCTION,
        TASK,
        QUEUE,
        RULE,
        SCHEDULE,
        DASHBOARD,
        *READERS,
        "± aws_s3_bucket_notification.source[0]",
    ],
    "source_prefix": [FUNCTION, TASK, RULE, SCHEDULE, DASHBOARD, *READERS],
    "source_account_id": [],
    "source_role_arn": [FUNCTION, TASK, *READERS],
    "target.endpoint": [FUNCTION, TASK, SECRET, DASHBOARD],
    "target.region": [FUNCTION, TASK],
    "target.bucket": [FUNCTION, TASK, SECRET, DASHBOARD],
    "target.prefix": [FUNCTION, TASK],
    "target.addressing_style": [FUNCTION, TASK],
    "target.payload_signing": [FUNCTION, TASK],
    "target.ca_certificate": [FUNCTION, TASK],
    "target.storage_class": [FUNCTION, TASK],
    "target.server_side_encryption": [FUNCTION, TASK],
    "target.sse_kms_key_id": [FUNCTION, TASK],
    "target.acl": [FUNCTION, TASK],
    "target.limits": [FUNCTION, TASK],
    "credentials_secret.arn": [
        *(FUNCTION, TASK, *READERS),
        "- aws_secretsmanager_secret.target_credentials[0]",
        "- aws_secretsmanager_secret_version.target_credentials[0]",
    ],
    "target_credentials_version": ["± aws_secretsmanager_secret_version.target_credentials[0]"],
    "notification_mode": [
        *(QUEUE, "~ aws_sqs_queue_policy.dead_letters", "- aws_cloudwatch_event_rule.source[0]"),
        *("- aws_cloudwatch_event_target.work[0]", "- aws_s3_bucket_notification.source[0]"),
    ],
    "enable_bucket_eventbridge": ["- aws_s3_bucket_notification.source[0]"],
    "notification_topic_arns": [QUEUE],
    "deletes.enabled": [FUNCTION],
    "deletes.delay_s": [DELETIONS_QUEUE],
    "deletes.hold_above": [FUNCTION],
    "paused": [*MAPPINGS, SCHEDULE],
    "sync.tags": [FUNCTION, TASK, RULE, *READERS],
    "sync.object_lock": [FUNCTION, TASK, *READERS],
    "sync.max_concurrency": [MAPPING],
    "sync.batch_size": [MAPPING],
    "sync.batch_window_s": [MAPPING, QUEUE, BULK_QUEUE, DELETIONS_QUEUE],
    "sync.max_receive_count": [QUEUE, BULK_QUEUE, DELETIONS_QUEUE],
    "sync.distributed_copy_threshold_mb": [FUNCTION],
    "bulk.max_concurrency": [BULK_MAPPING],
    "reconcile.schedule": [
        *("- aws_scheduler_schedule.reconcile[0]", "- aws_iam_role.reconcile[0]", "- aws_iam_role_policy.reconcile[0]"),
    ],
    "reconcile.delete": [SCHEDULE],
    "reconcile.max_delete": [SCHEDULE],
    "reconcile.full": [SCHEDULE],
    "function.enabled": [
        *(*MAPPINGS, *SERVICE),
        *(f'- aws_cloudwatch_log_metric_filter.worker["function-{name}"]' for name in FIGURES),
    ],
    "function.memory_mb": [FUNCTION],
    "function.timeout_s": [FUNCTION, QUEUE, BULK_QUEUE, DELETIONS_QUEUE, *RETRY_ALARMS],
    "function.architecture": [FUNCTION],
    "function.runtime": [FUNCTION],
    "function.reserved_concurrency": [FUNCTION],
    "function.log_level": [FUNCTION],
    "function.package_path": [FUNCTION],
    "function.vpc": [FUNCTION, "~ aws_iam_role_policy.function"],
    "function.vpc_permissions": [FUNCTION],  # the network permissions stay without the VPC
    **{key: [FUNCTION, TASK] for key in ("filters.include", "filters.exclude", "filters.min_size", "filters.max_size")},
    "environment": [FUNCTION, TASK],
    "ecs.architecture": [TASK],
    "ecs.bwlimit": [TASK],
    "ecs.cluster": ["- aws_ecs_cluster.tasks[0]"],
    "migration.enabled": [
        *('- aws_cloudwatch_log_group.task["migration"]', "- aws_ecs_cluster.tasks[0]"),
        *('- aws_ecs_task_definition.task["migration"]', *(f"- {part}" for part in REPOSITORY)),
        *(f"- aws_iam_role.{role}" for role in ROLES if role.startswith("task")),
        *(f"- aws_iam_role_policy.{role}" for role in ROLES if role.startswith("task")),
    ],
    "ecs.image": [
        *(TASK, '~ aws_iam_role_policy.task["execution"]', *(f"- {part}" for part in REPOSITORY)),
    ],
    "migration.cpu": [TASK],
    "migration.memory_mb": [TASK],
    "migration.restore": ['~ aws_iam_role_policy.task["migration"]'],
    "migration.arguments": [TASK],
    "service.enabled": SERVICE,
    "source_kms_key_arns": READERS,
    "kms_key_arn": [
        *(
            FUNCTION,
            TASK,
            QUEUE,
            BULK_QUEUE,
            DELETIONS_QUEUE,
            HELD_DELETIONS_QUEUE,
            "~ aws_sqs_queue.dead_letters",
            SCHEDULE,
            SECRET,
            *LOG_GROUPS,
        ),
        "~ aws_ecs_cluster.tasks[0]",
        *(f"± {part}" for part in REPOSITORY),  # the encryption of a repository cannot change
        *(f"~ aws_iam_role_policy.{role}" for role in ROLES),
    ],
    "previous_kms_key_arns": ["~ aws_iam_role_policy.function"],
    "role_path": [
        *(FUNCTION, TASK, SCHEDULE),
        *(f"± aws_iam_role.{role}" for role in ROLES),
        *(f"± aws_iam_role_policy.{role}" for role in ROLES),
    ],
    "permissions_boundary_arn": [f"~ aws_iam_role.{role}" for role in ROLES],
    "log_retention_days": LOG_GROUPS,
    "alarm_actions": ALARMS,
    "event_bus_arn": [FUNCTION, TASK, *READERS],
    "metrics": [
        *(f'- aws_cloudwatch_log_metric_filter.worker["function-{name}"]' for name in FIGURES_WITHOUT_ALARM),
        DASHBOARD,
    ],
    "dashboard": ["- aws_cloudwatch_dashboard.sync[0]"],
    "max_lag_s": [*(f'- aws_cloudwatch_metric_alarm.sync["{key}"]' for key in ("lag", "queue-age")), DASHBOARD],
    "max_retry_s": [
        '~ aws_cloudwatch_metric_alarm.sync["retries"]',
        '~ aws_cloudwatch_log_metric_filter.worker["function-RepeatedRetries"]',
    ],
}

# Cases with separate tests: `name` replaces all resources, `tags` changes all that have tags.
SWEEPING = {"name", "tags"}
OF_OUTPUTS_ALONE = {
    *("existing_notifications", "ecs.subnet_ids", "ecs.security_group_ids", "ecs.assign_public_ip"),
}
# The service is off in the example. tests/service.tftest.hcl covers these inputs.
OF_THE_SERVICE_ALONE = {name for name in CASES if name.startswith("service.") and name != "service.enabled"}

# The attribute with the name of each kind of resource, and the names that AWS allows.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
NAMES = {
    "aws_cloudwatch_dashboard": ("dashboard_name", r"[\w-]{1,255}"),
    "aws_cloudwatch_event_rule": ("name", r"[\w.-]{1,64}"),
    "aws_cloudwatch_log_group": ("name", r"[\w./#-]{1,512}"),
    "aws_cloudwatch_log_metric_filter": ("name", r"[^:*]{1,512}"),
    "aws_cloudwatch_metric_alarm": ("alarm_name", r".{1,255}"),
    "aws_ecr_repository": ("name", r"(?=.{2,256}$)([a-z0-9]+([._-][a-z0-9]+)*/)*[a-z0-9]+([._-][a-z0-9]+)*"),
    "aws_ecs_cluster": ("name", r"[\w-]{1,255}"),
    "aws_ecs_task_definition": ("family", r"[\w-]{1,255}"),
    "aws_iam_role": ("name", r"[\w+=,.@-]{1,64}"),
    "aws_iam_role_policy": ("name", r"[\w+=,.@-]{1,128}"),
    "aws_lambda_function": ("function_name", r"[\w-]{1,64}"),
    "aws_scheduler_schedule": ("name", r"[\w.-]{1,64}"),
    "aws_secretsmanager_secret": ("name", r"[\w/+=.@-]{1,512}"),
    "aws_sqs_queue": ("name", r"[\w-]{1,80}"),
}
NAMELESS = {
    *("aws_cloudwatch_event_target", "aws_ecr_lifecycle_policy", "aws_lambda_event_source_mapping"),
    "aws_lambda_function_recursion_config",
    *("aws_s3_bucket_notification", "aws_secretsmanager_secret_version"),
    *("aws_sqs_queue_policy", "aws_sqs_queue_redrive_allow_policy"),
}

ACTIONS = {("create",): "+", ("update",): "~", ("delete",): "-"}
REPLACED = (["delete", "create"], ["create", "delete"])


def inputs() -> Iterator[str]:
    """Yield the name of every input, and of every attribute of an object."""
    for block in module_docs.blocks(ROOT / "variables.tf", "variable"):
        of_object = re.findall(r"^  (\w+) += ", module_docs.source(block, "type"), re.MULTILINE)
        yield from (f"{module_docs.name(block)}.{attribute}" for attribute in of_object)
        if not of_object:
            yield module_docs.name(block)


def changed(planned: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the planned changes of each case, with addresses inside the module."""
    found: dict[str, list[str]] = {}
    for change in planned["resource_changes"]:
        case, address = re.fullmatch(r'module\.s3_syncer\["(.+?)"\]\.(.+)', change["address"]).groups()
        actions = change["change"]["actions"]
        if actions not in (["no-op"], ["read"]):
            sign = "±" if actions in REPLACED else ACTIONS[tuple(actions)]
            found.setdefault(case, []).append(f"{sign} {address}")
    return {case: sorted(changes) for case, changes in found.items()}


@pytest.fixture(scope="session")
def planned(examples: Examples) -> Any:
    """Return the plan of all cases, as JSON."""
    complete = examples["complete"]
    directory = complete.directory.with_name("changes")
    # The outputs refer to a single module.
    shutil.copytree(complete.directory, directory, ignore=shutil.ignore_patterns("outputs.tf"))
    (directory / "changes_override.tf").write_text(override())
    (directory / "cases.tf").write_text('variable "cases" {\n  type = any\n}\n')
    cases = {"nothing": {}, **{name: nested(name, value) | BESIDES.get(name, {}) for name, value in CASES.items()}}
    state = directory / "terraform.tfstate"
    state.write_text(json.dumps(multiplied(json.loads(complete.state.read_text()), list(cases))))
    (directory / "cases.auto.tfvars.json").write_text(json.dumps({"cases": cases}))
    many = Example("changes", directory, complete.tool, state)
    many.tool.run("init", "-no-color", cwd=directory)
    many.terraform("plan", "-refresh=false", "-lock=false", "-out=changes.plan")
    return json.loads(many.tool.run("show", "-json", "changes.plan", cwd=directory))


def override() -> str:
    """Return an override of the module block: one module for each case, with the inputs of the case."""
    (block,) = DocumentView.parse((COMPLETE / "main.tf").read_text()).blocks("module")
    arguments = []
    for name in {name.partition(".")[0] for name in inputs()} - {"target_credentials"}:
        written = module_docs.source(block, name)
        mixed = f"merge({written}, try(each.value.{name}, {{}}))" if written.startswith("{") else None
        arguments.append(f"  {name} = {mixed or f'try(each.value.{name}, {written})'}\n")
    # An ephemeral value cannot be part of a case.
    keys = 'contains(keys(each.value), "credentials_secret") ? null : var.target_credentials'
    arguments.append(f"  target_credentials = {keys}\n")
    return f'module "s3_syncer" {{\n  for_each = var.cases\n{"".join(arguments)}}}\n'


def nested(name: str, value: object) -> dict[str, object]:
    key, _, attribute = name.partition(".")
    return {key: {attribute: value}} if attribute else {key: value}


def multiplied(state: dict[str, Any], cases: list[str]) -> dict[str, Any]:
    """Return the state with the module once for each case, without outputs of the single module."""
    resources = [
        {**resource, "module": f'module.s3_syncer["{case}"]'} for case in cases for resource in state["resources"]
    ]
    return {**state, "resources": resources, "outputs": {}}


def test_every_input_is_a_case_and_set_in_the_complete_example() -> None:
    (block,) = DocumentView.parse((COMPLETE / "main.tf").read_text()).blocks("module")
    names = set(inputs()) - {"target_credentials.access_key_id", "target_credentials.secret_access_key"}
    names.remove("sync.delete")  # refused
    assert names == set(CASES)
    for name in names:
        key, _, attribute = name.partition(".")
        written = module_docs.source(block, key)
        assert not attribute or written == "null" or re.search(rf"\b{attribute} += ", written), name


@pytest.fixture(scope="session")
def plans(planned: Any) -> dict[str, list[str]]:
    return changed(planned)


def test_unchanged_inputs_change_nothing(plans: dict[str, list[str]]) -> None:
    assert "nothing" not in plans


@pytest.mark.parametrize("case", sorted(set(CASES) - SWEEPING))
def test_input_changes_exactly_the_expected_resources(plans: dict[str, list[str]], case: str) -> None:
    assert plans.get(case, []) == sorted(EXPECTED.get(case, []))
    assert (case in EXPECTED) != (case in OF_OUTPUTS_ALONE | OF_THE_SERVICE_ALONE)


def test_another_name_replaces_all_resources(plans: dict[str, list[str]]) -> None:
    kept = {"aws_s3_bucket_notification.source[0]"}  # with EventBridge it contains no name
    assert all(change.startswith("±") for change in plans["name"])
    assert {change[2:] for change in plans["name"]} == everything(plans) - kept


def everything(plans: dict[str, list[str]]) -> set[str]:
    """Return the addresses of existing resources that any case changes."""
    return {change[2:] for changes in plans.values() for change in changes if not change.startswith("+")}


def test_tags_are_changed_in_place(plans: dict[str, list[str]]) -> None:
    assert plans["tags"]
    assert all(change.startswith("~") for change in plans["tags"])


def test_longest_name_is_valid_for_every_resource(planned: Any) -> None:
    assert len(CASES["name"]) == 64
    names: dict[str, list[str]] = {}
    for change in planned["resource_changes"]:
        kind, after = change["type"], change["change"]["after"]
        if not change["address"].startswith('module.s3_syncer["name"].') or change["mode"] == "data":
            continue
        assert (kind in NAMES) != (kind in NAMELESS), f"add {kind} to NAMES or NAMELESS"
        if kind in NAMES:
            attribute, pattern = NAMES[kind]
            assert re.fullmatch(pattern, after[attribute], re.ASCII), change["address"]
            names.setdefault(kind, []).append(after[attribute])
    for kind in set(NAMES) - {"aws_iam_role_policy"}:  # it belongs to a role, so equal names are allowed
        assert len(set(names[kind])) == len(names[kind]) > 0, f"two of {kind} have the same name"
