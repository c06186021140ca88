"""The options of `s3-syncer` and their variables: what reaches the sweep, and what is refused. No store is asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from tests.functional.command import Ended, run

from s3_syncer import __version__
from s3_syncer.cli import commands
from s3_syncer.cli.commands import ByteRate, cli
from s3_syncer.cli.queue_migration import Place
from s3_syncer.cli.run import Job
from s3_syncer.core.multipart import MIB
from s3_syncer.stores.credentials import Credentials

NEEDED = {
    "SOURCE_BUCKET": "source",
    "TARGET_ENDPOINT": "https://s3.example.com",
    "TARGET_REGION": "us-east-1",
    "TARGET_BUCKET": "target",
    "TARGET_ACCESS_KEY_ID": "an id",
    "TARGET_SECRET_ACCESS_KEY": "a secret",
}


FLEET = ("migrate", "--workers=queue", "--queue-url=q")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in set(os.environ) - {"PATH", "HOME"}:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that would have been run."""
    jobs: list[Job] = []

    def note(job: Job, console: object) -> int:
        jobs.append(job)
        return 0

    monkeypatch.setattr(commands, "run", note)
    return jobs


def job(jobs: list[Job], *arguments: str, **environment: str | None) -> Job:
    ended = run(*(arguments or ("migrate",)), **{**NEEDED, **environment})
    assert ended.code == 0, ended.err
    return jobs[-1]


def refused(*arguments: str, **environment: str | None) -> str:
    ended: Ended = run(*(arguments or ("migrate",)), **{**NEEDED, **environment})
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err
    return " ".join(ended.err.split())


def test_a_queue_is_for_those_who_ask_for_it(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """The registered task always knows the queue."""
    places: list[Place] = []
    monkeypatch.setattr(commands, "hand_over", lambda job, place, console: places.append(place) or 0)
    known = {"QUEUE_URL": "queue", "DEAD_LETTER_QUEUE_URL": "dead", "S3_SYNCER_LOG_GROUP": "one two"}
    assert job(jobs, **known).sweep_options.delete is False
    assert places == []
    assert run("migrate", "--workers=queue", **NEEDED, **known).code == 0
    assert places == [Place("queue", "dead", ("one", "two"), 60)]


def test_the_settings_come_from_the_environment(jobs: list[Job]) -> None:
    settings = job(jobs).settings
    assert settings.source_bucket == "source"
    assert settings.target_endpoint == "https://s3.example.com"
    assert (settings.target_region, settings.target_bucket) == ("us-east-1", "target")
    assert settings.target_credentials == Credentials("an id", "a secret")
    assert (settings.source_prefix, settings.target_prefix, settings.tags) == ("", "", True)
    assert (settings.copy_memory, settings.bytes_per_s) == (512 * MIB, None)
    assert "a secret" not in repr(settings)


def test_the_names_of_the_2021_container_still_work(jobs: list[Job]) -> None:
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


def test_the_newer_names_win_over_those_of_2021(jobs: list[Job]) -> None:
    settings = job(jobs, ENDPOINT="https://old.example.com", AWS_DEFAULT_REGION="eu-west-1").settings
    assert (settings.target_endpoint, settings.target_region) == ("https://s3.example.com", "us-east-1")


def test_the_sources_region_is_not_taken_for_the_targets() -> None:
    assert "--target-region is not set" in refused(TARGET_REGION=None, AWS_DEFAULT_REGION="eu-west-1")


def test_a_secret_wins_over_keys(jobs: list[Job]) -> None:
    assert job(jobs, TARGET_SECRET_ARN="arn:of:it").settings.target_credentials == "arn:of:it"


def wanted(job: Job, *keys: str) -> list[str]:
    return [key for key in keys if job.sweep_options.key_filter is None or job.sweep_options.key_filter(key)]


#: An option, its value, its variable, and what it sets. A flag has no value; its variable is true.
OPTIONS: list[tuple[str, str | None, str, Callable[[Job], bool]]] = [
    ("--source-bucket", "other", "SOURCE_BUCKET", lambda job: job.settings.source_bucket == "other"),
    ("--source-prefix", "in/", "SOURCE_PREFIX", lambda job: job.settings.source_prefix == "in/"),
    ("--target-endpoint", "http://h:1/", "TARGET_ENDPOINT", lambda job: job.settings.target_endpoint == "http://h:1"),
    ("--target-region", "eu", "TARGET_REGION", lambda job: job.settings.target_region == "eu"),
    ("--target-bucket", "other", "TARGET_BUCKET", lambda job: job.settings.target_bucket == "other"),
    ("--target-prefix", "out/", "TARGET_PREFIX", lambda job: job.settings.target_prefix == "out/"),
    ("--target-secret-arn", "name", "TARGET_SECRET_ARN", lambda job: job.settings.target_credentials == "name"),
    ("--concurrency", "7", "S3_SYNCER_CONCURRENCY", lambda job: job.threads == 7),
    ("--memory", "128", "S3_SYNCER_MEMORY", lambda job: job.settings.copy_memory == 128 * MIB),
    ("--bwlimit", "2M", "S3_SYNCER_BWLIMIT", lambda job: job.settings.bytes_per_s == 2 * MIB),
    ("--log-format", "json", "S3_SYNCER_LOG_FORMAT", lambda job: job.log and not job.named),
    ("--verbose", None, "S3_SYNCER_VERBOSE", lambda job: not job.log and not job.named),
    ("--include", "a b,*", "S3_SYNCER_INCLUDE", lambda job: wanted(job, "a b,c", "c") == ["a b,c"]),
    ("--exclude", "a b,*", "S3_SYNCER_EXCLUDE", lambda job: wanted(job, "a b,c", "c") == ["c"]),
    ("--full", None, "S3_SYNCER_FULL", lambda job: job.sweep_options.full),
    ("--one-way", None, "S3_SYNCER_ONE_WAY", lambda job: job.sweep_options.one_way),
    ("--report", "report.html", "S3_SYNCER_REPORT", lambda job: job.reports == (Path("report.html"),)),
    ("--dry-run", None, "S3_SYNCER_DRY_RUN", lambda job: job.sweep_options.dry_run),
    ("--delete", None, "S3_SYNCER_DELETE", lambda job: job.sweep_options.delete),
]


@pytest.mark.parametrize(("option", "value", "variable", "holds"), OPTIONS, ids=[option for option, *_ in OPTIONS])
def test_every_option_has_its_variable(
    jobs: list[Job], option: str, value: str | None, variable: str, holds: Callable[[Job], bool]
) -> None:
    assert not holds(job(jobs))
    assert holds(job(jobs, "migrate", *([option] if value is None else [option, value])))
    assert holds(job(jobs, **{variable: value or "true"}))
    assert not holds(job(jobs, **{variable: NEEDED.get(variable, "")})), "an empty variable is none"


def test_the_command_line_wins_over_the_environment(jobs: list[Job]) -> None:
    found = job(jobs, "migrate", "--concurrency", "7", "--tags", S3_SYNCER_CONCURRENCY="9", SYNC_TAGS="false")
    assert (found.threads, found.settings.tags) == (7, True)


def test_max_delete_and_tags(jobs: list[Job]) -> None:
    assert job(jobs, "migrate", "--delete", "--max-delete", "0").sweep_options.max_delete == 0
    assert job(jobs, S3_SYNCER_DELETE="true", S3_SYNCER_MAX_DELETE="5").sweep_options.max_delete == 5
    assert job(jobs, "migrate", "--no-tags").settings.tags is False
    assert job(jobs, SYNC_TAGS="false").settings.tags is False


def test_several_patterns_and_reports(jobs: list[Job]) -> None:
    found = job(jobs, "migrate", "--include", "*.a", "--include", "*.b", "--report", "a.json", "--report", "b.html")
    assert wanted(found, "x.a", "x.b", "x.c") == ["x.a", "x.b"]
    assert found.reports == (Path("a.json"), Path("b.html"))
    found = job(jobs, S3_SYNCER_EXCLUDE="*.a\n\n/with space/**\n", S3_SYNCER_REPORT="a.json:b.html")
    assert wanted(found, "x.a", "with space/x", "x.c") == ["x.c"]
    assert found.reports == (Path("a.json"), Path("b.html"))


def test_a_check_only_looks(jobs: list[Job]) -> None:
    found = job(jobs, "check", "--full", "--one-way")
    assert (found.command, found.sweep_options.dry_run, found.sweep_options.full, found.sweep_options.one_way) == (
        "check",
        True,
        True,
        True,
    )
    assert job(jobs, "check", S3_SYNCER_DELETE="true").sweep_options.delete is False


def test_every_variable_is_in_the_help() -> None:
    for name, command in cli.commands.items():
        text = run(name, "--help").out
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name != "help":
                variables = [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar or ())
                assert variables, parameter.name
                assert all(variable in text for variable in variables), parameter.name


def test_a_variable_starts_with_s3_syncer_unless_the_function_shares_it() -> None:
    shared = {"DEAD_LETTER_QUEUE_URL", "DISTRIBUTED_COPY_THRESHOLD_MB", "ENDPOINT", "LOG_LEVEL", "QUEUE_URL"}
    shared |= {"SOURCE_BUCKET", "SOURCE_PREFIX", "SYNC_DELETE", "SYNC_TAGS"}
    shared |= {f"TARGET_{name}" for name in ("BUCKET", "ENDPOINT", "PREFIX", "REGION", "SECRET_ARN")}
    variables = {variable for command in cli.commands.values() for variable in commands._variables(command)}
    assert {variable for variable in variables if not variable.startswith("S3_SYNCER_")} == shared


@pytest.mark.parametrize("former", sorted(commands._FORMER_VARIABLES))
def test_a_former_variable_has_no_effect_but_a_warning(jobs: list[Job], former: str) -> None:
    new = commands._FORMER_VARIABLES[former]
    command = next(name for name, command in cli.commands.items() if new in commands._variables(command))
    ended = run(command, "--no-such-option", **{former: "nonsense"})
    assert ended.err.splitlines()[0] == f"s3-syncer: warning: {former} has no effect: set {new} instead"
    assert "nonsense" not in ended.err
    assert f"{former} " not in run(command, "--no-such-option", **{former: ""}).err


def test_former_variables_leave_the_defaults(jobs: list[Job]) -> None:
    ended = run("migrate", **NEEDED, DRY_RUN="true", EXCLUDE="*", MIGRATE_DELETE="true", WORKERS="queue")
    assert ended.code == 0
    options = jobs[-1].sweep_options
    assert (options.dry_run, options.key_filter, options.delete) == (False, None, False)
    assert ended.err.count("\n") == 4
    assert "warning" not in run("check", **NEEDED, DRY_RUN="true").err, "an option that the command does not have"


@pytest.mark.parametrize("command", [("sync", "a"), ("serve",)], ids=" ".join)
@pytest.mark.parametrize("variable", ["S3_SYNCER_DELETE", "SYNC_DELETE"])
def test_deletes_of_single_keys_are_turned_off_by_either_name(
    command: tuple[str, ...], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletes: list[bool] = []
    monkeypatch.setattr(commands, "_settings", lambda options, *, delete, **_: deletes.append(delete) or _exit())
    run(*command, **NEEDED, **{variable: "false"})
    run(*command, **NEEDED)
    assert deletes == [False, True]


def _exit() -> None:
    raise SystemExit


def test_help_and_version_need_nothing() -> None:
    ended = run("--help")
    assert ended.code == 0
    for word in ("migrate", "check", "sync", "Exit codes", "130 or 143"):
        assert word in ended.out
    assert run("--version").out == f"s3-syncer, version {__version__}\n"


# -- refused -----------------------------------------------------------------------------------------------------------


def test_all_that_is_missing_is_said_at_once() -> None:
    text = refused(**dict.fromkeys(NEEDED))
    for option in ("--source-bucket", "--target-endpoint", "--target-region", "--target-bucket"):
        assert f"{option} is not set" in text
    assert "give --target-secret-arn, or set TARGET_ACCESS_KEY_ID and TARGET_SECRET_ACCESS_KEY" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("migrate", "--target-endpoint", "s3.example.com"), "--target-endpoint must be a URL"),
        (("migrate", "--target-endpoint", "https://h/bucket"), "--target-endpoint must end after the host"),
        (("migrate", "--source-prefix", "/in"), "--source-prefix must not start with '/': write 'in'"),
        (("migrate", "--workers", "queue"), "--workers queue wants --queue-url"),
        (
            ("migrate", "--workers=queue", "--queue-url=q", "--dry-run"),
            "--dry-run cannot be handed over with --workers",
        ),
        ((*FLEET, "--include=a"), "--include cannot be handed over"),
        ((*FLEET, "--exclude=a"), "leave --workers queue out to choose keys"),
        (
            ("migrate", "--workers=queue", "--queue-url=q", "--full"),
            "run `s3-syncer check --full` when the fleet is done",
        ),
        (
            ("migrate", "--workers=queue", "--queue-url=q", "--bwlimit=1M"),
            "what bounds the fleet is sync.max_concurrency",
        ),
        (("migrate", "--max-delete", "5"), "--max-delete does nothing without --delete"),
        (("migrate", "--max-delete", "-1", "--delete"), "-1 is not in the range"),
        (("migrate", "--include", "a["), "a pattern cannot be read: 'a['"),
        (("migrate", "--exclude", "***"), "more than two '*' in a row"),
        (("migrate", "--concurrency", "0"), "not in the range"),
        (("migrate", "--bwlimit", "fast"), "'fast' is not a rate: write 500k, 10M or 1.5G"),
        (("migrate", "--log-format", "xml"), "is not one of"),
        (("migrate", "--report", "report.txt"), "must end in .json or .html"),
        (("migrate", "--report", "/nowhere/at/all.json"), "there is no folder '/nowhere/at'"),
        (("migrate", "--no-such-option"), "No such option"),
        (("migrate", "key"), "unexpected extra argument"),
        (("check", "--delete"), "No such option"),
        (("sync",), "Missing argument 'KEY...'"),
        (("nonsense",), "No such command"),
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_said_in_the_options_own_words(arguments: tuple[str, ...], says: str) -> None:
    assert says in refused(*arguments)


def test_a_secret_never_shows_in_a_refusal() -> None:
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
def test_rates_are_rclones(text: str, rate: float | None) -> None:
    assert ByteRate().convert(text, None, None) == rate


@pytest.mark.parametrize("text", ["", "k", "-1", "10kB", "10MB", "1e3", "nan", "inf", "10 M", "0k", "1.2.3M", "10X"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a rate"):
        ByteRate().convert(text, None, None)
