"""Test the corrections of the emulated AWS in `scripts/localcloud/ministack_patches.py`."""

from __future__ import annotations

import io
import json
import time
import uuid
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.functional.harness import REGION, Account
from tests.support.patience import PATIENCE_S, eventually

from localcloud import servers
from localcloud.stack import ROOT_KEY, make_older


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with servers.running(servers.ministack(region=REGION), tmp_path_factory.mktemp("ministack")) as server:
        yield Account(server.endpoint, ROOT_KEY, ROOT_KEY)


def register(ecs: Any, family: str, **container: Any) -> Any:
    described = {"name": "one", "image": "image", **container}
    return ecs.register_task_definition(family=family, containerDefinitions=[described])["taskDefinition"]


def test_ecs_drops_empty_variables_and_adds_empty_capabilities(cloud: Account) -> None:
    (container,) = register(
        cloud.client("ecs"),
        "normalized",
        environment=[{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
        linuxParameters={"capabilities": {"drop": ["ALL"]}},
    )["containerDefinitions"]
    assert container["environment"] == [{"name": "A", "value": "1"}]
    assert container["linuxParameters"]["capabilities"] == {"add": [], "drop": ["ALL"]}


def test_registry_wants_the_token_of_ecr(cloud: Account) -> None:
    (authorization,) = cloud.client("ecr").get_authorization_token()["authorizationData"]
    ping = f"{cloud.endpoint}/v2/"
    with pytest.raises(HTTPError, match="401") as rejected:
        urlopen(ping)
    rejected.value.close()
    assert rejected.value.headers["WWW-Authenticate"].startswith("Basic ")
    with urlopen(Request(ping, headers={"Authorization": f"Basic {authorization['authorizationToken']}"})) as response:
        assert response.status == 200


def test_deregistered_definition_runs_no_task(cloud: Account) -> None:
    ecs = cloud.client("ecs")
    definition = register(ecs, "deregistered")["taskDefinitionArn"]
    ecs.deregister_task_definition(taskDefinition=definition)
    with pytest.raises(ClientError, match="inactive"):
        ecs.run_task(taskDefinition=definition)
    with pytest.raises(ClientError, match="inactive"):
        ecs.create_service(serviceName="deregistered", taskDefinition=definition)


def test_task_is_missing_once_after_its_start(cloud: Account) -> None:
    ecs = cloud.client("ecs")
    definition = register(ecs, "missing")["taskDefinitionArn"]
    earlier, later = (ecs.run_task(taskDefinition=definition)["tasks"][0]["taskArn"] for _ in range(2))

    def described(*tasks: str) -> tuple[list[str], list[tuple[str, str]]]:
        response = ecs.describe_tasks(tasks=list(tasks))
        failures = [(each["arn"], each["reason"]) for each in response["failures"]]
        return [task["taskArn"] for task in response["tasks"]], failures

    assert described(earlier) == ([], [(earlier, "MISSING")])
    assert described(earlier, later) == ([earlier], [(later, "MISSING")])
    assert described(earlier, later) == ([earlier, later], [])


def test_role_of_ecs_is_not_usable_right_after_the_first_cluster(cloud: Account) -> None:
    ecs = cloud.client("ecs")
    ecs.create_cluster(clusterName="first")
    with pytest.raises(ClientError, match="Unable to assume the service linked role"):
        ecs.put_cluster_capacity_providers(
            cluster="first", capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[]
        )


def test_alarm_on_an_expression_has_no_period_of_its_own(cloud: Account) -> None:
    alarms = cloud.client("cloudwatch")
    metric = {"Metric": {"Namespace": "N", "MetricName": "M"}, "Period": 900, "Stat": "Maximum"}
    queries = [{"Id": "e", "Expression": "m"}, {"Id": "m", "MetricStat": metric, "ReturnData": False}]
    alarms.put_metric_alarm(
        AlarmName="expression",
        ComparisonOperator="GreaterThanThreshold",
        EvaluationPeriods=1,
        Threshold=1,
        Metrics=queries,
    )
    (alarm,) = alarms.describe_alarms(AlarmNames=["expression"])["MetricAlarms"]
    assert not alarm.keys() & {"Period", "Statistic"}
    assert alarm["Metrics"][1]["MetricStat"]["Period"] == 900


def put_alarm(cloud: Account, name: str, metric: str, periods: int = 1, **dimensions: str) -> None:
    """Put an alarm of one minute above 0, on a metric of queues or of the log."""
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SQS" if dimensions else name,
        MetricName=metric,
        Dimensions=[{"Name": dimension, "Value": value} for dimension, value in dimensions.items()],
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=periods,
        DatapointsToAlarm=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )


def state_of(cloud: Account, name: str) -> str:
    """Return the state of an alarm, and check that a search for this state finds it."""
    alarms = cloud.client("cloudwatch")
    (alarm,) = alarms.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    found = alarms.describe_alarms(AlarmNames=[name], StateValue=alarm["StateValue"])["MetricAlarms"]
    assert [each["AlarmName"] for each in found] == [name]
    return str(alarm["StateValue"])


def queue_metric(cloud: Account, queue: str, metric: str) -> list[float]:
    """Return the values of the last five minutes, as `s3-syncer status` asks for them."""
    now = datetime.now(UTC)
    dimensions = [{"Name": "QueueName", "Value": queue}]
    described = {"Namespace": "AWS/SQS", "MetricName": metric, "Dimensions": dimensions}
    (result,) = cloud.client("cloudwatch").get_metric_data(
        StartTime=now - timedelta(minutes=5),
        EndTime=now,
        ScanBy="TimestampDescending",
        MetricDataQueries=[{"Id": "one", "MetricStat": {"Metric": described, "Period": 60, "Stat": "Maximum"}}],
    )["MetricDataResults"]
    return list(result["Values"])


def test_alarm_on_visible_messages_goes_off_and_ends(cloud: Account) -> None:
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName="visible")["QueueUrl"]
    put_alarm(cloud, "visible", "ApproximateNumberOfMessagesVisible", QueueName="visible")
    assert state_of(cloud, "visible") == "OK"
    sqs.send_message(QueueUrl=queue, MessageBody="message")
    assert state_of(cloud, "visible") == "ALARM"
    assert queue_metric(cloud, "visible", "ApproximateNumberOfMessagesVisible") == [1]
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert state_of(cloud, "visible") == "OK"
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert queue_metric(cloud, "visible", "ApproximateNumberOfMessagesVisible") == [0]


def test_alarm_on_age_leaves_out_a_message_that_was_received_three_times(cloud: Account) -> None:
    sqs, metric = cloud.client("sqs"), "ApproximateAgeOfOldestMessage"
    queue = sqs.create_queue(QueueName="age")["QueueUrl"]
    sqs.create_queue(QueueName="another")
    for name in ("age", "another"):
        put_alarm(cloud, name, metric, QueueName=name)
    assert queue_metric(cloud, "age", metric) == [0]
    sqs.send_message(QueueUrl=queue, MessageBody="message")
    for _ in range(2):
        sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)
        assert state_of(cloud, "age") == "ALARM"
        assert state_of(cloud, "another") == "OK"
    (age_s,) = queue_metric(cloud, "age", metric)
    assert 0 < age_s < PATIENCE_S
    sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)
    assert state_of(cloud, "age") == "OK"
    assert queue_metric(cloud, "age", metric) == []


def test_moved_message_keeps_its_first_arrival_and_its_age_begins_anew(cloud: Account) -> None:
    sqs, metric = cloud.client("sqs"), "ApproximateAgeOfOldestMessage"
    letters = sqs.create_queue(QueueName="letters")["QueueUrl"]
    redrive = json.dumps({"deadLetterTargetArn": arn_of(sqs, letters), "maxReceiveCount": 3})
    attributes = {"RedrivePolicy": redrive, "VisibilityTimeout": "0"}
    queue = sqs.create_queue(QueueName="moved", Attributes=attributes)["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="message")
    first = time.time()
    time.sleep(2)
    for _ in range(4):  # the fourth request moves the message
        sqs.receive_message(QueueUrl=queue)
    moved = time.time()
    received = sqs.receive_message(
        QueueUrl=letters, VisibilityTimeout=0, MessageSystemAttributeNames=["SentTimestamp"]
    )["Messages"]
    assert int(received[0]["Attributes"]["SentTimestamp"]) <= first * 1000
    (age_s,) = queue_metric(cloud, "letters", metric)
    assert age_s <= time.time() - moved + 1


def test_number_of_tags_comes_with_an_object_if_its_tags_may_be_read(cloud: Account) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="counted")
    s3.put_object(Bucket="counted", Key="tagged", Body=b"x", Tagging="a=1&b=2")
    s3.put_object(Bucket="counted", Key="untagged", Body=b"x")

    def counts(client: Any, key: str) -> list[int | None]:
        return [read(Bucket="counted", Key=key).get("TagCount") for read in (client.get_object, client.head_object)]

    def reader(*actions: str) -> Any:
        return in_role(cloud, "s3", {"Effect": "Allow", "Action": actions, "Resource": "*"})

    assert counts(s3, "tagged") == [2, 2]
    assert counts(s3, "untagged") == [None, None]
    assert counts(reader("s3:GetObject", "s3:GetObjectTagging"), "tagged") == [2, 2]
    assert counts(reader("s3:GetObject"), "tagged") == [None, None]


def test_alarm_on_a_metric_filter_goes_off_and_ends_after_its_window(cloud: Account) -> None:
    logs = cloud.client("logs")
    for group in ("filtered", "other"):
        logs.create_log_group(logGroupName=group)
        logs.create_log_stream(logGroupName=group, logStreamName="one")
    logs.put_metric_filter(
        logGroupName="filtered",
        filterName="lag",
        filterPattern='{ $.action = "retry" && $.lag_ms >= 0 }',
        metricTransformations=[{"metricNamespace": "filtered", "metricName": "Lag", "metricValue": "$.lag_ms"}],
    )

    def log(group: str, *messages: str) -> None:
        at = int((time.time() - 180) * 1000)
        events = [{"timestamp": at, "message": message} for message in messages]
        logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)

    put_alarm(cloud, "filtered", "Lag", periods=30)
    log("filtered", "START", '{"action": "copy", "lag_ms": 5}', '{"action": "retry", "lag_ms": null}')
    log("other", '{"action": "retry", "lag_ms": 5}')
    assert state_of(cloud, "filtered") == "OK"
    log("filtered", '{"action": "retry", "lag_ms": 5}')
    assert state_of(cloud, "filtered") == "ALARM"
    put_alarm(cloud, "filtered", "Lag", periods=1)  # the line is older than one period
    assert state_of(cloud, "filtered") == "OK"
    history = cloud.client("cloudwatch").describe_alarm_history(AlarmName="filtered")["AlarmHistoryItems"]
    assert [item["HistorySummary"] for item in history][:2] == [
        "Alarm updated from ALARM to OK",
        "Alarm updated from OK to ALARM",
    ]


def test_lines_with_one_of_several_terms_are_found(cloud: Account) -> None:
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="terms")
    logs.create_log_stream(logGroupName="terms", logStreamName="one")
    messages = ["Task timed out after 900 seconds", "Task ended", "MemoryError", "Traceback (most recent call last)"]
    events = [{"timestamp": int(time.time() * 1000), "message": message} for message in messages]
    logs.put_log_events(logGroupName="terms", logStreamName="one", logEvents=events)
    found = logs.filter_log_events(logGroupName="terms", filterPattern='?"Task timed out" ?MemoryError')["events"]
    assert sorted(event["message"] for event in found) == ["MemoryError", "Task timed out after 900 seconds"]


def test_metric_filter_that_is_not_known_is_refused(cloud: Account) -> None:
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="refused")
    made = [{"metricNamespace": "refused", "metricName": "Lines", "metricValue": "1"}]
    with pytest.raises(ClientError, match="not a JSON pattern"):
        logs.put_metric_filter(
            logGroupName="refused", filterName="all", filterPattern="ERROR", metricTransformations=made
        )


def test_function_that_fails_for_a_queue_counts_errors(cloud: Account) -> None:
    sqs, functions, iam = (cloud.client(service) for service in ("sqs", "lambda", "iam"))
    queue = sqs.create_queue(QueueName="fails")["QueueUrl"]
    role = create_function_role(iam, "fails")
    may_receive = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
    iam.put_role_policy(RoleName="fails", PolicyName="fails", PolicyDocument=policy(may_receive))
    create_function(functions, "fails", role, "def handler(event, context):\n    raise ValueError")
    functions.create_event_source_mapping(FunctionName="fails", EventSourceArn=arn_of(sqs, queue))
    sqs.send_message(QueueUrl=queue, MessageBody="message")

    eventually(lambda: function_metric(cloud, "fails", "Errors") >= 1)


def function_metric(cloud: Account, function: str, metric: str) -> float:
    """Return the sum of a metric of a function."""
    now = datetime.now(UTC)
    points = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName=metric,
        Dimensions=[{"Name": "FunctionName", "Value": function}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return sum(point["Sum"] for point in points)


def test_function_without_concurrency_is_throttled(cloud: Account) -> None:
    functions = cloud.client("lambda")
    role = create_function_role(cloud.client("iam"), "throttled")
    create_function(functions, "throttled", role, "def handler(event, context):\n    return 1")
    functions.put_function_concurrency(FunctionName="throttled", ReservedConcurrentExecutions=0)
    with pytest.raises(functions.exceptions.TooManyRequestsException) as rejected:
        functions.invoke(FunctionName="throttled")
    assert rejected.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    attempts = 1 + rejected.value.response["ResponseMetadata"]["RetryAttempts"]  # boto3 repeats the request
    assert function_metric(cloud, "throttled", "Throttles") == attempts
    assert function_metric(cloud, "throttled", "Invocations") == 0


def test_throttled_batch_is_repeated_while_its_messages_are_hidden(cloud: Account) -> None:
    sqs, functions, iam = (cloud.client(service) for service in ("sqs", "lambda", "iam"))
    queue = sqs.create_queue(QueueName="patient", Attributes={"VisibilityTimeout": "3600"})["QueueUrl"]
    role = create_function_role(iam, "patient")
    may_receive = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
    iam.put_role_policy(RoleName="patient", PolicyName="patient", PolicyDocument=policy(may_receive))
    create_function(functions, "patient", role, "def handler(event, context):\n    return 1")
    functions.put_function_concurrency(FunctionName="patient", ReservedConcurrentExecutions=0)
    functions.create_event_source_mapping(FunctionName="patient", EventSourceArn=arn_of(sqs, queue))
    sqs.send_message(QueueUrl=queue, MessageBody="message")

    eventually(lambda: function_metric(cloud, "patient", "Throttles") > 1)
    assert messages_of(sqs, queue) == 1
    functions.delete_function_concurrency(FunctionName="patient")
    eventually(lambda: messages_of(sqs, queue) == 0)
    assert function_metric(cloud, "patient", "Invocations") == 1
    assert function_metric(cloud, "patient", "ConcurrentExecutions") == 1


def messages_of(sqs: Any, queue: str) -> int:
    """Return the number of messages on a queue, visible or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(counts[name]) for name in names)


def test_messages_become_older_until_sqs_removes_them(cloud: Account) -> None:
    sqs, metric, day_s = cloud.client("sqs"), "ApproximateAgeOfOldestMessage", 86_400
    fourteen_days = {"MessageRetentionPeriod": str(14 * day_s)}
    queue = sqs.create_queue(QueueName="old", Attributes=fourteen_days)["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="message")
    make_older(cloud.endpoint, "old", 10 * day_s)
    (age_s,) = queue_metric(cloud, "old", metric)
    assert age_s >= 10 * day_s
    (message,) = sqs.receive_message(QueueUrl=queue, AttributeNames=["All"], VisibilityTimeout=0)["Messages"]
    assert time.time() - int(message["Attributes"]["SentTimestamp"]) / 1000 >= 10 * day_s
    make_older(cloud.endpoint, "old", 4 * day_s)
    assert messages_of(sqs, queue) == 0


def test_message_stays_under_the_key_with_which_it_was_sent(cloud: Account) -> None:
    """A role that has lost the earlier key cannot receive the message."""
    sqs, kms = cloud.client("sqs"), cloud.client("kms")
    earlier, later = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    queue = sqs.create_queue(QueueName="keys", Attributes={"KmsMasterKeyId": earlier})["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="earlier")
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"KmsMasterKeyId": later, "VisibilityTimeout": "0"})

    may_receive = {"Effect": "Allow", "Action": "sqs:ReceiveMessage", "Resource": "*"}

    def receive(*keys: str) -> list[str]:
        may_decrypt = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": list(keys)}
        client = in_role(cloud, "sqs", may_receive, may_decrypt)
        return [message["Body"] for message in client.receive_message(QueueUrl=queue)["Messages"]]

    with pytest.raises(ClientError, match="AccessDenied"):
        receive(later)
    assert receive(later, earlier) == ["earlier"]


def in_role(cloud: Account, service: str, *statements: dict[str, Any]) -> Any:
    """Return a client in a role with these permissions."""
    iam, name = cloud.client("iam"), f"role-{uuid.uuid4()}"
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=policy(*statements))
    session = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="session")["Credentials"]
    keys = (session[part] for part in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    return boto3.Session(*keys, region_name=REGION).client(service, endpoint_url=cloud.endpoint)


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def test_log_group_gets_another_key(cloud: Account) -> None:
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="group", kmsKeyId="arn:aws:kms:us-east-1:000000000000:key/1")
    logs.associate_kms_key(logGroupName="group", kmsKeyId="arn:aws:kms:us-east-1:000000000000:key/2")
    (group,) = logs.describe_log_groups(logGroupNamePrefix="group")["logGroups"]
    assert group["kmsKeyId"].endswith("/2")
    logs.disassociate_kms_key(logGroupName="group")
    (group,) = logs.describe_log_groups(logGroupNamePrefix="group")["logGroups"]
    assert "kmsKeyId" not in group


def test_policy_with_characters_beyond_latin_1_is_rejected(cloud: Account) -> None:
    iam = cloud.client("iam")
    create_function_role(iam, "letters")

    def put(prefix: str) -> None:
        statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::source/{prefix}*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]}, ensure_ascii=False)
        iam.put_role_policy(RoleName="letters", PolicyName="letters", PolicyDocument=document)

    put("Übergröße/")
    with pytest.raises(ClientError, match="ValidationError"):
        put("отчёты/")


#: A function that sends the next number to its own queue, up to 20, and then to the dead-letter queue.
COUNTER = """
import os, boto3
def handler(event, context):
    sqs = boto3.client("sqs")
    for record in event["Records"]:
        number = int(record["body"])
        queue = os.environ["QUEUE" if number < 20 else "END"]
        sqs.send_message(QueueUrl=queue, MessageBody=str(number + 1))
"""


@pytest.mark.parametrize(("recursive_loop", "last"), [("Terminate", "16"), ("Allow", "21")])
def test_lambda_stops_a_chain_over_sqs_after_16_invocations(cloud: Account, recursive_loop: str, last: str) -> None:
    sqs, functions, iam = (cloud.client(service) for service in ("sqs", "lambda", "iam"))
    name = f"counter-{recursive_loop}"
    end = sqs.create_queue(QueueName=f"{name}-end")["QueueUrl"]
    redrive = json.dumps({"deadLetterTargetArn": arn_of(sqs, end), "maxReceiveCount": 100})
    queue = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": redrive})["QueueUrl"]
    role = create_function_role(iam, name)
    may_send = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=policy(may_send))

    create_function(functions, name, role, COUNTER, QUEUE=queue, END=end)
    functions.put_function_recursion_config(FunctionName=name, RecursiveLoop=recursive_loop)
    functions.create_event_source_mapping(FunctionName=name, EventSourceArn=arn_of(sqs, queue))
    sqs.send_message(QueueUrl=queue, MessageBody="0")

    found: list[dict[str, Any]] = []
    limit = time.monotonic() + PATIENCE_S
    while not found and time.monotonic() < limit:
        found = sqs.receive_message(QueueUrl=end, WaitTimeSeconds=5).get("Messages", [])
    assert [message["Body"] for message in found] == [last]


def create_function_role(iam: Any, name: str) -> str:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"])


def create_function(functions: Any, name: str, role: str, code: str, **variables: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("function.py", code)
    functions.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="function.handler",
        Role=role,
        Code={"ZipFile": packed.getvalue()},
        Timeout=60,
        Environment={"Variables": variables},
    )


def arn_of(sqs: Any, queue: str) -> str:
    return str(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def test_object_of_several_parts_has_the_time_of_initiation(cloud: Account) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="parts")
    at = {"Bucket": "parts", "Key": "key"}
    at["UploadId"] = s3.create_multipart_upload(**at)["UploadId"]
    (upload,) = s3.list_multipart_uploads(Bucket="parts")["Uploads"]
    etag = s3.upload_part(**at, PartNumber=1, Body=b"part")["ETag"]
    time.sleep(1.1)  # times have whole seconds
    s3.complete_multipart_upload(**at, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    head = s3.head_object(Bucket="parts", Key="key")
    assert head["LastModified"] == upload["Initiated"].replace(microsecond=0)


def test_events_of_another_account_reach_a_bus_with_a_policy_for_it(cloud: Account) -> None:
    """The bus of the default account takes the events of one other account, and not those of a third one."""
    events, sqs = cloud.client("events"), cloud.client("sqs")
    bus = events.create_event_bus(Name="others")["EventBusArn"]
    allowed = {
        "Sid": "AllowOther",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
        "Action": "events:PutEvents",
        "Resource": bus,
    }
    policy = {"Version": "2012-10-17", "Statement": [allowed]}
    events.put_permission(EventBusName="others", Policy=json.dumps(policy))
    assert json.loads(events.describe_event_bus(Name="others")["Policy"]) == policy
    url = sqs.create_queue(QueueName="others")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    send = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:*", "Resource": arn}
    document = json.dumps({"Version": "2012-10-17", "Statement": [send]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": document})
    pattern = json.dumps({"source": ["test"]})
    events.put_rule(Name="others", EventBusName="others", EventPattern=pattern)
    events.put_targets(Rule="others", EventBusName="others", Targets=[{"Id": "queue", "Arn": arn}])
    for account in ("222222222222", "111111111111"):  # the events that are dropped come first
        other = Account(cloud.endpoint, account, ROOT_KEY).client("events")
        other.put_rule(Name="send", EventPattern=pattern)
        role = f"arn:aws:iam::{account}:role/events"
        other.put_targets(Rule="send", Targets=[{"Id": "bus", "Arn": bus, "RoleArn": role}])
        other.put_events(Entries=[{"Source": "test", "DetailType": "test", "Detail": "{}"}])
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, MaxNumberOfMessages=10)["Messages"]
    assert json.loads(message["Body"])["account"] == "111111111111"
