"""The options and variables of `s3-syncer`: their effect on the sweep, and usage errors. No store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from tests.functional.command import Ended, run, started

from devtools.cli_docs import leaves
from s3_syncer import __version__
from s3_syncer.cli.click_extensions import FORMER_VARIABLES
from s3_syncer.cli.commands import cli, migrate_and_check
from s3_syncer.cli.commands import serve as serve_command
from s3_syncer.cli.commands import sync as sync_command
from s3_syncer.cli.concurrency import AUTO
from s3_syncer.cli.options.types import Bandwidth
from s3_syncer.cli.output.report_upload import ReportObject
from s3_syncer.cli.sweeps.job import SweepJob
from s3_syncer.cli.sweeps.queue_migration import QueueMigrationConfig
from s3_syncer.core.units import MIB
from s3_syncer.settings import AwsChain, Connection, Credentials, RequestOptions

NEEDED = {
    "SOURCE_BUCKET": "source",
    "TARGET_ENDPOINT": "https://s3.example.com",
    "TARGET_REGION": "us-east-1",
    "TARGET_BUCKET": "target",
    "TARGET_ACCESS_KEY_ID": "an id",
    "TARGET_SECRET_ACCESS_KEY": "a secret",
}


QUEUE = ("migrate", "--workers=queue", "--queue-url=q")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in set(os.environ) - {"PATH", "HOME"}:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[SweepJob]:
    """Record the jobs instead of running them."""
    jobs: list[SweepJob] = []

    def note(job: SweepJob, console: object) -> int:
        jobs.append(job)
        return 0

    monkeypatch.setattr(migrate_and_check, "run", note)
    return jobs


def job(jobs: list[SweepJob], *arguments: str, **environment: str | None) -> SweepJob:
    ended = run(*(arguments or ("migrate",)), **{**NEEDED, **environment})
    assert ended.code == 0, ended.err
    return jobs[-1]


def refused(*arguments: str, **environment: str | None) -> str:
    ended: Ended = run(*(arguments or ("migrate",)), **{**NEEDED, **environment})
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err
    return " ".join(ended.err.split())


def test_queue_is_used_only_with_workers_queue(jobs: list[SweepJob], monkeypatch: pytest.MonkeyPatch) -> None:
    """The task definition of the module always sets the variables of the queue."""
    configs: list[QueueMigrationConfig] = []
    monkeypatch.setattr(migrate_and_check, "migrate_by_queue", lambda job, config, console: configs.append(config) or 0)
    known = {"QUEUE_URL": "queue", "DEAD_LETTER_QUEUE_URL": "dead", "S3_SYNCER_LOG_GROUP": "one two"}
    assert job(jobs, **known).sweep_options.delete is False
    assert configs == []
    assert run("migrate", "--workers=queue", **NEEDED, **known).code == 0
    assert configs == [QueueMigrationConfig("queue", "dead", ("one", "two"), 60)]


def test_settings_come_from_the_environment(jobs: list[SweepJob]) -> None:
    settings = job(jobs).settings
    assert settings.source_bucket == "source"
    assert settings.target_endpoint == "https://s3.example.com"
    assert (settings.target_region, settings.target_bucket) == ("us-east-1", "target")
    assert settings.target_credentials == Credentials("an id", "a secret")
    assert (settings.source_prefix, settings.target_prefix, settings.tags) == ("", "", True)
    assert (settings.copy_memory, settings.bandwidth.limits) == (512 * MIB, False)
    assert "a secret" not in repr(settings)


def test_variables_of_the_2021_container_work(jobs: list[SweepJob]) -> None:
    environment = {
        "SOURCE_BUCKET": "source",
        "TARGET_BUCKET": "target",
        "ENDPOINT": "https://s3.us-east-1.lyvecloud.seagate.com",
        "AWS_DEFAULT_REGION": "us-east-1",
        "TARGET_ACCESS_KEY_ID": "an id",
        "TARGET_SECRET_ACCESS_KEY": "a secret",
    }
    ended = run("migrate", **environment)
    assert ended.code == 0, ended.err
    settings = jobs[-1].settings
    assert (settings.source_bucket, settings.target_bucket) == ("source", "target")
    assert settings.target_endpoint == "https://s3.us-east-1.lyvecloud.seagate.com"
    assert settings.target_region == "us-east-1"
    assert settings.target_credentials == Credentials("an id", "a secret")


def test_newer_variables_win_over_those_of_2021(jobs: list[SweepJob]) -> None:
    settings = job(jobs, ENDPOINT="https://old.example.com", AWS_DEFAULT_REGION="eu-west-1").settings
    assert (settings.target_endpoint, settings.target_region) == ("https://s3.example.com", "us-east-1")


def test_region_of_the_source_is_not_used_for_the_target() -> None:
    assert "--target-region is not set" in refused(TARGET_REGION=None, AWS_DEFAULT_REGION="eu-west-1")


def test_secret_wins_over_keys(jobs: list[SweepJob]) -> None:
    assert job(jobs, TARGET_SECRET_ARN="arn:of:it").settings.target_credentials == "arn:of:it"


ROLE = "arn:aws:iam::123456789012:role/reader"
SOURCE_KEYS = {"SOURCE_ACCESS_KEY_ID": "source id", "SOURCE_SECRET_ACCESS_KEY": "source secret"}


def test_source_has_the_default_credentials_of_aws(jobs: list[SweepJob]) -> None:
    settings = job(jobs).settings
    assert settings.source_connection == Connection("", "", AwsChain())
    assert settings.source_requests == RequestOptions(addressing_style="auto")


def test_source_may_have_an_access_key_of_its_own(jobs: list[SweepJob]) -> None:
    settings = job(jobs, **SOURCE_KEYS).settings
    assert settings.source_connection.credentials == Credentials("source id", "source secret")
    assert "source secret" not in repr(settings)


def test_role_of_the_source_is_assumed_with_its_profile(jobs: list[SweepJob]) -> None:
    settings = job(jobs, SOURCE_PROFILE="other", SOURCE_ROLE_ARN=ROLE).settings
    assert settings.source_connection.credentials == AwsChain("other", ROLE)


def test_option_wins_over_an_access_key_in_the_environment(jobs: list[SweepJob]) -> None:
    settings = job(jobs, "migrate", "--source-profile", "a", "--target-profile", "b", **SOURCE_KEYS).settings
    assert (settings.source_connection.credentials, settings.target_credentials) == (AwsChain("a"), AwsChain("b"))
    settings = job(jobs, "migrate", "--target-profile", "b", TARGET_SECRET_ARN="arn:of:it").settings
    assert settings.target_credentials == AwsChain("b")


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({**SOURCE_KEYS, "SOURCE_ROLE_ARN": ROLE}, "to use --source-role-arn, unset SOURCE_ACCESS_KEY_ID"),
        (
            {**SOURCE_KEYS, "SOURCE_PROFILE": "a"},
            "--source-profile and SOURCE_ACCESS_KEY_ID both give the credentials of the source: set only one of them",
        ),
        ({"TARGET_PROFILE": "a"}, "--target-profile and TARGET_ACCESS_KEY_ID both give the credentials of the target"),
        (
            {"TARGET_PROFILE": "a", "TARGET_SECRET_ARN": "b"},
            "--target-secret-arn and --target-profile both give the credentials of the target: set only one of them",
        ),
        ({"SOURCE_ACCESS_KEY_ID": "a"}, "SOURCE_ACCESS_KEY_ID and SOURCE_SECRET_ACCESS_KEY belong together: set both"),
        ({"TARGET_ACCESS_KEY_ID": ""}, "TARGET_ACCESS_KEY_ID and TARGET_SECRET_ACCESS_KEY belong together: set both"),
        (
            {"TARGET_ACCESS_KEY_ID": "a\nb"},
            "TARGET_ACCESS_KEY_ID and TARGET_SECRET_ACCESS_KEY must not have control or other unusable characters",
        ),
        ({"TARGET_SECRET_ACCESS_KEY": "a\udcff"}, "must not have control or other unusable characters"),
        ({"SOURCE_ROLE_ARN": "reader"}, "--source-role-arn must be the ARN of a role such as arn:aws:iam::12345678901"),
        (
            {"SOURCE_EXPECTED_BUCKET_OWNER": "me"},
            "--source-expected-bucket-owner must be the ID of an AWS account",
        ),
        ({"SOURCE_ENDPOINT": "s3.example.com"}, "--source-endpoint must be a URL such as https://s3.example.com"),
        ({"SOURCE_ENDPOINT": "https://exämple.com"}, "--source-endpoint must be a URL such as https://s3.example.com"),
        ({"SOURCE_REGION": "us east 1"}, "--source-region must be a region such as us-east-1, not 'us east 1'"),
        ({"TARGET_REGION": "https://h"}, "--target-region must be a region such as us-east-1, not 'https://h'"),
        ({"SOURCE_ENDPOINT": "https://h/source"}, "--source-endpoint must not contain the bucket: write https://h"),
    ],
)
def test_contradiction_about_a_store_is_one_clear_error(environment: dict[str, str], says: str) -> None:
    text = refused(**environment)
    assert says in text
    assert text.count(";") == 0, "one mistake has one message"
    assert "secret" not in text.replace("--target-secret-arn", "")


def wanted(job: SweepJob, *keys: str) -> list[str]:
    return [key for key in keys if job.settings.filters.exclusion_by_name(key) is None]


#: An option, its value, its variable, and what it sets. A flag has no value; its variable is true.
OPTIONS: list[tuple[str, str | None, str, Callable[[SweepJob], bool]]] = [
    ("--source-bucket", "other", "SOURCE_BUCKET", lambda job: job.settings.source_bucket == "other"),
    ("--source-prefix", "in/", "SOURCE_PREFIX", lambda job: job.settings.source_prefix == "in/"),
    (
        "--source-requester-pays",
        None,
        "SOURCE_REQUESTER_PAYS",
        lambda job: job.settings.source_requests.headers == {"x-amz-request-payer": "requester"},
    ),
    (
        "--source-endpoint",
        "http://h:1/",
        "SOURCE_ENDPOINT",
        lambda job: job.settings.source_connection.endpoint == "http://h:1",
    ),
    ("--source-region", "eu", "SOURCE_REGION", lambda job: job.settings.source_connection.region == "eu"),
    (
        "--source-role-arn",
        ROLE,
        "SOURCE_ROLE_ARN",
        lambda job: job.settings.source_connection.credentials == AwsChain("", ROLE),
    ),
    (
        "--source-profile",
        "other",
        "SOURCE_PROFILE",
        lambda job: job.settings.source_connection.credentials == AwsChain("other"),
    ),
    (
        "--source-expected-bucket-owner",
        "123456789012",
        "SOURCE_EXPECTED_BUCKET_OWNER",
        lambda job: job.settings.source_requests.headers == {"x-amz-expected-bucket-owner": "123456789012"},
    ),
    (
        "--source-addressing-style",
        "virtual",
        "SOURCE_ADDRESSING_STYLE",
        lambda job: job.settings.source_requests.addressing_style == "virtual",
    ),
    ("--target-endpoint", "http://h:1/", "TARGET_ENDPOINT", lambda job: job.settings.target_endpoint == "http://h:1"),
    ("--target-region", "eu", "TARGET_REGION", lambda job: job.settings.target_region == "eu"),
    ("--target-bucket", "other", "TARGET_BUCKET", lambda job: job.settings.target_bucket == "other"),
    (
        "--target-addressing-style",
        "virtual",
        "TARGET_ADDRESSING_STYLE",
        lambda job: job.settings.target_requests.addressing_style == "virtual",
    ),
    (
        "--target-payload-signing",
        None,
        "TARGET_PAYLOAD_SIGNING",
        lambda job: job.settings.target_requests.payload_signing,
    ),
    (
        "--target-storage-class",
        "STANDARD_IA",
        "TARGET_STORAGE_CLASS",
        lambda job: job.settings.target_requests.object_headers == {"x-amz-storage-class": "STANDARD_IA"},
    ),
    (
        "--target-server-side-encryption",
        "aws:kms",
        "TARGET_SERVER_SIDE_ENCRYPTION",
        lambda job: job.settings.target_requests.object_headers == {"x-amz-server-side-encryption": "aws:kms"},
    ),
    (
        "--target-acl",
        "public-read",
        "TARGET_ACL",
        lambda job: job.settings.target_requests.object_headers == {"x-amz-acl": "public-read"},
    ),
    (
        "--target-max-object-mb",
        "7",
        "TARGET_MAX_OBJECT_MB",
        lambda job: job.settings.target_limits.max_object == 7 * MIB,
    ),
    ("--target-min-part-mb", "7", "TARGET_MIN_PART_MB", lambda job: job.settings.target_limits.min_part == 7 * MIB),
    ("--target-max-part-mb", "7", "TARGET_MAX_PART_MB", lambda job: job.settings.target_limits.max_part == 7 * MIB),
    ("--target-max-parts", "7", "TARGET_MAX_PARTS", lambda job: job.settings.target_limits.max_parts == 7),
    ("--target-prefix", "out/", "TARGET_PREFIX", lambda job: job.settings.target_prefix == "out/"),
    ("--target-secret-arn", "name", "TARGET_SECRET_ARN", lambda job: job.settings.target_credentials == "name"),
    ("--concurrency", "7", "S3_SYNCER_CONCURRENCY", lambda job: job.threads == 7),
    ("--memory", "128", "S3_SYNCER_MEMORY", lambda job: job.settings.copy_memory == 128 * MIB),
    ("--bwlimit", "2M", "S3_SYNCER_BWLIMIT", lambda job: job.settings.bandwidth.changes == ((0, 2 * MIB),)),
    ("--log-format", "json", "S3_SYNCER_LOG_FORMAT", lambda job: job.log and not job.list_findings),
    ("--verbose", None, "S3_SYNCER_VERBOSE", lambda job: not job.log and not job.list_findings),
    ("--include", "a b,*", "S3_SYNCER_INCLUDE", lambda job: wanted(job, "a b,c", "c") == ["a b,c"]),
    ("--exclude", "a b,*", "S3_SYNCER_EXCLUDE", lambda job: wanted(job, "a b,c", "c") == ["c"]),
    ("--min-size", "1.5", "S3_SYNCER_MIN_SIZE", lambda job: job.settings.filters.min_size == 1536),
    ("--max-size", "7b", "S3_SYNCER_MAX_SIZE", lambda job: job.settings.filters.max_size == 7),
    ("--full", None, "S3_SYNCER_FULL", lambda job: job.sweep_options.full),
    ("--one-way", None, "S3_SYNCER_ONE_WAY", lambda job: job.sweep_options.one_way),
    ("--report", "report.html", "S3_SYNCER_REPORT", lambda job: job.reports == (Path("report.html"),)),
    ("--dry-run", None, "S3_SYNCER_DRY_RUN", lambda job: job.sweep_options.dry_run),
    ("--delete", None, "S3_SYNCER_DELETE", lambda job: job.sweep_options.delete),
]


@pytest.mark.parametrize(("option", "value", "variable", "holds"), OPTIONS, ids=[option for option, *_ in OPTIONS])
def test_option_and_its_variable_have_the_same_effect(
    jobs: list[SweepJob], option: str, value: str | None, variable: str, holds: Callable[[SweepJob], bool]
) -> None:
    assert not holds(job(jobs))
    assert holds(job(jobs, "migrate", *([option] if value is None else [option, value])))
    assert holds(job(jobs, **{variable: value or "true"}))
    assert not holds(job(jobs, **{variable: NEEDED.get(variable, "")})), "an empty variable has no effect"


def test_command_line_wins_over_the_environment(jobs: list[SweepJob]) -> None:
    found = job(jobs, "migrate", "--concurrency", "7", "--tags", S3_SYNCER_CONCURRENCY="9", SYNC_TAGS="false")
    assert (found.threads, found.settings.tags) == (7, True)


def test_max_delete_and_tags(jobs: list[SweepJob]) -> None:
    assert job(jobs, "migrate", "--delete", "--max-delete", "0").sweep_options.max_delete == 0
    assert job(jobs, S3_SYNCER_DELETE="true", S3_SYNCER_MAX_DELETE="5").sweep_options.max_delete == 5
    assert job(jobs, "migrate", "--no-tags").settings.tags is False
    assert job(jobs, SYNC_TAGS="false").settings.tags is False


def test_patterns_and_reports_are_repeatable(jobs: list[SweepJob]) -> None:
    found = job(jobs, "migrate", "--include", "*.a", "--include", "*.b", "--report", "a.json", "--report", "b.html")
    assert wanted(found, "x.a", "x.b", "x.c") == ["x.a", "x.b"]
    assert found.reports == (Path("a.json"), Path("b.html"))
    found = job(jobs, S3_SYNCER_EXCLUDE="*.a\n\n/with space/**\n", S3_SYNCER_REPORT="a.json:b.html")
    assert wanted(found, "x.a", "with space/x", "x.c") == ["x.c"]
    assert found.reports == (Path("a.json"), Path("b.html"))
    found = job(jobs, S3_SYNCER_REPORT="a.json:s3://reports/a.html:s3://reports/b.json")
    assert found.reports == (Path("a.json"), ReportObject("reports", "a.html"), ReportObject("reports", "b.json"))


def test_check_is_a_dry_run_without_deletes(jobs: list[SweepJob]) -> None:
    found = job(jobs, "check", "--full", "--one-way")
    assert (found.command, found.sweep_options.dry_run, found.sweep_options.full, found.sweep_options.one_way) == (
        "check",
        True,
        True,
        True,
    )
    assert job(jobs, "check", S3_SYNCER_DELETE="true").sweep_options.delete is False


def test_help_lists_every_option_and_its_variables() -> None:
    for name, command in cli.load_commands().items():
        text = run(name, "--help").out
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                variables = [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar or ())
                assert variables or parameter.name in ("source_location", "target_location"), parameter.name
                assert all(variable in text for variable in variables), parameter.name


def test_variable_starts_with_s3_syncer_unless_the_function_shares_it() -> None:
    shared = {
        "BULK_QUEUE_URL",
        "DELETIONS_QUEUE_URL",
        "HELD_DELETIONS_QUEUE_URL",
        "HOLD_DELETIONS_ABOVE",
        "DEAD_LETTER_QUEUE_URL",
        "DISTRIBUTED_COPY_THRESHOLD_MB",
        "ENDPOINT",
        "LOG_LEVEL",
        "QUEUE_URL",
    }
    shared |= {
        "SOURCE_BUCKET",
        "SOURCE_PREFIX",
        "SOURCE_REQUESTER_PAYS",
        "SYNC_DELETE",
        "SYNC_TAGS",
        "SYNC_OBJECT_LOCK",
    }
    shared |= {f"SOURCE_{name}" for name in ("ENDPOINT", "REGION", "PROFILE", "ROLE_ARN", "CA_CERTIFICATE")}
    shared |= {"SOURCE_ADDRESSING_STYLE", "SOURCE_EXPECTED_BUCKET_OWNER", "TARGET_PROFILE"}
    shared |= {f"TARGET_{name}" for name in ("BUCKET", "ENDPOINT", "PREFIX", "REGION", "SECRET_ARN", "CA_CERTIFICATE")}
    shared |= {"TARGET_ADDRESSING_STYLE", "TARGET_PAYLOAD_SIGNING", "TARGET_ACL", "TARGET_STORAGE_CLASS"}
    shared |= {"TARGET_SERVER_SIDE_ENCRYPTION", "TARGET_SSE_KMS_KEY_ID"}
    shared |= {f"TARGET_{name}" for name in ("MAX_OBJECT_MB", "MIN_PART_MB", "MAX_PART_MB", "MAX_PARTS")}
    commands = [command for _, command in leaves("s3-syncer", cli.load_commands())]
    variables = {variable for command in commands for variable in command.variables}
    assert {variable for variable in variables if not variable.startswith("S3_SYNCER_")} == shared


@pytest.mark.parametrize("former", sorted(FORMER_VARIABLES))
def test_former_variable_causes_only_a_warning(jobs: list[SweepJob], former: str) -> None:
    new = FORMER_VARIABLES[former]
    command = next(name for name, command in cli.load_commands().items() if new in command.variables)
    ended = run(command, "--no-such-option", **{former: "nonsense"})
    assert ended.err.splitlines()[0] == f"s3-syncer: warning: {former} has no effect: set {new} instead"
    assert "nonsense" not in ended.err
    assert f"{former} " not in run(command, "--no-such-option", **{former: ""}).err


def test_former_variables_do_not_change_the_defaults(jobs: list[SweepJob]) -> None:
    ended = run("migrate", **NEEDED, DRY_RUN="true", EXCLUDE="*", MIGRATE_DELETE="true", WORKERS="queue")
    assert ended.code == 0
    options = jobs[-1].sweep_options
    assert (options.dry_run, options.delete) == (False, False)
    assert not jobs[-1].settings.filters
    assert ended.err.count("\n") == 4
    assert "warning" not in run("check", **NEEDED, DRY_RUN="true").err, "an option that the command does not have"


@pytest.mark.parametrize("command", [("sync", "a"), ("serve",)], ids=" ".join)
@pytest.mark.parametrize("variable", ["S3_SYNCER_DELETE", "SYNC_DELETE"])
def test_either_variable_turns_deletes_of_single_keys_off(
    command: tuple[str, ...], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletes: list[bool] = []
    for module in (sync_command, serve_command):
        monkeypatch.setattr(module, "read_settings", lambda options, *, delete, **_: deletes.append(delete) or _exit())
    run(*command, **NEEDED, **{variable: "false"})
    run(*command, **NEEDED)
    assert deletes == [False, True]


def _exit() -> None:
    raise SystemExit


def test_help_has_sections_and_an_example_for_each_command() -> None:
    workers = {"migrate", "check", "sync", "serve", "restore"}
    for line, command in leaves("s3-syncer", cli.load_commands()):
        _, *names = line.split()
        text = run(*names, "--help").out
        assert ("Speed and memory" in command.sections) == (names[0] in workers), line
        if names[0] in {*workers, "doctor"}:
            assert {"Source", "Target", "Output"} <= command.sections.keys()
        assert all(f"{section}:" in text for section in (*command.sections, "Examples"))
        assert all(f"\n    {line}\n" in text for _, line in command.examples)
        assert command.examples


@pytest.mark.parametrize(
    ("typed", "error"),
    [("migrat", "No such command 'migrat'. Did you mean 'migrate'?"), ("xyz", "No such command 'xyz'.")],
)
def test_unknown_command_names_the_one_that_is_close(typed: str, error: str) -> None:
    ended = run(typed)
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == f"Error: {error}"


def test_help_lists_the_commands_with_whole_summaries() -> None:
    text = run("--help").out
    assert "..." not in text.partition("Commands:")[2]


def test_help_and_version_need_no_settings() -> None:
    ended = run("--help")
    assert ended.code == 0
    for word in ("migrate", "check", "sync", "Exit codes", "130, 143"):
        assert word in ended.out
    assert run("--version").out.splitlines()[0] == f"s3-syncer {__version__}"


def test_unexpected_error_does_not_exit_with_1() -> None:
    """Exit code 1 means that the command finished and listed each difference."""
    break_command = "import s3_syncer.cli.commands as commands; commands.cli.calling = lambda _: 1 / 0"
    with started("check", before=break_command) as command:
        ended = command.ended()
    assert (ended.code, "ZeroDivisionError" in ended.err) == (3, True)


# -- usage errors ------------------------------------------------------------------------------------------------------


def test_error_names_every_missing_setting() -> None:
    text = refused(**dict.fromkeys(NEEDED))
    for option in ("--source-bucket", "--target-endpoint", "--target-region", "--target-bucket"):
        assert f"{option} is not set" in text
    assert "give --target-secret-arn or --target-profile, or set TARGET_ACCESS_KEY_ID and TARGET_SECRET" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("migrate", "--target-endpoint", "s3.example.com"), "--target-endpoint must be a URL"),
        (("migrate", "--target-endpoint", "https://h/v1?x"), "--target-endpoint must end after the path"),
        (("migrate", "--target-ca-certificate", "/no.pem"), "the file '/no.pem' cannot be read"),
        (("migrate", "--source-bucket", "logs--usw2-az1--x-s3"), "--source-bucket names a directory bucket"),
        (("migrate", "--target-bucket", "ap-0123-s3alias"), "--target-bucket names an access point"),
        (("migrate", "--workers", "queue"), "--workers queue needs --bulk-queue-url, or --queue-url"),
        (
            ("migrate", "--workers=queue", "--queue-url=q", "--dry-run"),
            "--dry-run does not work with --workers queue",
        ),
        (
            ("migrate", "--workers=queue", "--queue-url=q", "--bwlimit=1M"),
            "the input bulk.max_concurrency of the Terraform module limits the workers",
        ),
        (("migrate", "--max-delete", "5"), "--max-delete has no effect without --delete"),
        (("migrate", "--max-delete", "-1", "--delete"), "-1 is not in the range"),
        (("migrate", "--include", "a["), "invalid filter: 'a['"),
        (("migrate", "--include", ""), "a pattern is empty: write one such as *.jpg or photos/**, or omit it"),
        (("restore", "--to-bucket", "a/b"), "--to-bucket is not the name of a bucket"),
        (("sync", "a", "--exclude", "a["), "invalid filter: 'a['"),
        ((*QUEUE, f"--include={'a' * 20_000}"), "the filters for --workers queue have at most 16,384 characters"),
        (("serve", "--exclude", "a["), "invalid filter: 'a['"),
        (("check", "--min-size", "2K", "--max-size", "1K"), "no object has at least 2KiB and at most 1KiB"),
        (("migrate", "--max-size", "1KB"), "'1KB' is not a size: write 500B, 100K, 10M or 1.5G, or 100 for 100 KiB"),
        (("migrate", "--exclude", "***"), "more than two '*' in a row"),
        (("migrate", "--concurrency", "0"), "'0' is not a ceiling: write auto, or a whole number from 1 to 512"),
        (("migrate", "--concurrency", "fast"), "'fast' is not a ceiling"),
        (("check", "--concurrency", "513"), "'513' is not a ceiling"),
        (("migrate", "--concurrency", "1.5"), "'1.5' is not a ceiling"),
        (("migrate", "--bwlimit", "fast"), "'fast' is not a rate: write 500k, 10M or 1.5G"),
        (("migrate", "--log-format", "xml"), "is not one of"),
        (("migrate", "--report", "report.txt"), "must end in .json or .html"),
        (("migrate", "--report", "s3://bucket/report.txt"), "must end in .json or .html"),
        (("migrate", "--report", "s3://report.html"), "write s3://bucket/key"),
        (("migrate", "--report", "/nowhere/at/all.json"), "the folder '/nowhere/at' does not exist"),
        (("migrate", "--files-from", "/"), "'/' is a folder: write the name of a file"),
        (("migrate", "--no-such-option"), "No such option"),
        (("migrate", "s3://a", "s3://b", "key"), "unexpected extra argument"),
        (("check", "--delete"), "No such option"),
        (("sync",), "name the keys: give at least one KEY, or --files-from"),
        (("nonsense",), "No such command"),
    ],
    ids=" ".join,
)
def test_usage_error_names_the_option(arguments: tuple[str, ...], says: str) -> None:
    assert says in refused(*arguments)


def test_usage_error_never_shows_a_secret() -> None:
    assert "a secret" not in refused(TARGET_ENDPOINT="nonsense", TARGET_BUCKET=None)


# -- rates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10", 10 * 1024),  # rclone's own default unit
        ("10B", 10),
        ("10b", 10),
        ("10k", 10 * 1024),
        ("10K", 10 * 1024),
        ("10Ki", 10 * 1024),
        ("10KiB", 10 * 1024),
        ("1.5G", 1.5 * 1024**3),
        (".5M", 0.5 * 1024**2),
        ("2T", 2 * 1024**4),
        ("off", None),
        ("0", None),
    ],
)
def test_rate_has_the_syntax_of_rclone(text: str, rate: float | None) -> None:
    timetable = Bandwidth().convert(text, None, None)
    assert (None if timetable is None else timetable.changes) == (None if rate is None else ((0, rate),))


@pytest.mark.parametrize("text", ["", "k", "-1", "10kB", "10MB", "1e3", "nan", "inf", "10 M", "0k", "1.2.3M", "10X"])
def test_invalid_rate(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is not a rate|is not an entry"):
        Bandwidth().convert(text, None, None)


def test_concurrency_adapts_below_a_ceiling_by_default(jobs: list[SweepJob]) -> None:
    assert job(jobs, "migrate").threads == job(jobs, "migrate", "--concurrency", "AUTO").threads == AUTO
    assert job(jobs, "migrate", S3_SYNCER_CONCURRENCY="auto").threads == AUTO
