"""SOURCE and TARGET on the command line, and the command `config` that names stores. No store."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.functional.command import Ended, run
from tests.functional.test_cli_options import NEEDED

from s3_syncer.cli.commands import cli, migrate_and_check
from s3_syncer.cli.sweeps.job import SweepJob
from s3_syncer.settings import AwsChain, Connection, Credentials, Settings

ENDPOINT = "https://s3.example.com"


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the path of the configuration file, which has the stores `lyve` and `work`."""
    for name in set(os.environ) - {"PATH", "HOME"}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "aws").write_text("[work]\naws_access_key_id = a\naws_secret_access_key = b\nregion = eu-west-3\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))
    add = ("config", "add", "lyve", "--endpoint", ENDPOINT, "--region", "eu-1", "--access-key-id", "lyve-id")
    ended = CliRunner().invoke(cli, add, input="lyve-secret\n")
    assert (ended.exit_code, ended.output) == (0, "")
    assert run("config", "add", "work", "--profile", "work", "--bucket", "photos").code == 0
    return tmp_path / "s3-syncer" / "config.toml"


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[SweepJob]:
    """Record the jobs instead of running them."""
    jobs: list[SweepJob] = []
    monkeypatch.setattr(migrate_and_check, "run", lambda job, console: jobs.append(job) or 0)
    return jobs


def settings(jobs: list[SweepJob], *arguments: str, **environment: str) -> Settings:
    ended = run(*arguments, **environment)
    assert ended.code == 0, ended.err
    return jobs[-1].settings


def test_copy_is_one_line(jobs: list[SweepJob]) -> None:
    found = settings(jobs, "migrate", "s3://my-bucket/in", "lyve:mirror/out/")
    assert (found.source_bucket, found.source_prefix) == ("my-bucket", "in/")
    assert found.source_connection == Connection("", "", AwsChain())
    assert (found.target_endpoint, found.target_region) == (ENDPOINT, "eu-1")
    assert (found.target_bucket, found.target_prefix) == ("mirror", "out/")
    assert found.target_credentials == Credentials("lyve-id", "lyve-secret")


def test_either_side_may_be_any_store(jobs: list[SweepJob]) -> None:
    found = settings(jobs, "check", "lyve:mirror", "work:")
    assert found.source_connection == Connection(ENDPOINT, "eu-1", Credentials("lyve-id", "lyve-secret"))
    assert (found.target_endpoint, found.target_region) == ("https://s3.eu-west-3.amazonaws.com", "eu-west-3")
    assert (found.target_bucket, found.target_credentials) == ("photos", AwsChain("work"))
    assert settings(jobs, "check", "lyve:mirror", "work").target_bucket == "photos"


def test_target_on_aws_has_the_credentials_of_the_chain(jobs: list[SweepJob]) -> None:
    found = settings(jobs, "migrate", "lyve:mirror", "s3://back", AWS_DEFAULT_REGION="us-west-2")
    assert (found.target_endpoint, found.target_region) == ("https://s3.us-west-2.amazonaws.com", "us-west-2")
    assert found.target_credentials == AwsChain()
    assert settings(jobs, "migrate", "lyve:mirror", "s3://back", "--target-region", "eu-1").target_region == "eu-1"
    ended = run("migrate", "lyve:mirror", "s3://back")
    assert (ended.code, "the region of the target is unknown: give --target-region" in ended.err) == (2, True)


def test_location_replaces_the_variables_of_its_side_alone(jobs: list[SweepJob]) -> None:
    """Otherwise the keys of one store would be sent to another store."""
    environment = {
        **NEEDED,
        "SOURCE_PREFIX": "other/",
        "SOURCE_ENDPOINT": "https://other.example.com",
        "SOURCE_PROFILE": "other",
        "SOURCE_ACCESS_KEY_ID": "other",
        "SOURCE_EXPECTED_BUCKET_OWNER": "123456789012",
        "TARGET_STORAGE_CLASS": "COLD",
    }
    found = settings(jobs, "migrate", "s3://my-bucket", **environment)
    assert (found.source_bucket, found.source_prefix, found.source_connection) == ("my-bucket", "", Connection())
    assert found.source_requests.headers == {}
    assert (found.target_endpoint, found.target_bucket) == (NEEDED["TARGET_ENDPOINT"], "target")
    found = settings(jobs, "migrate", "s3://my-bucket", "lyve:mirror", **environment, TARGET_SECRET_ARN="arn:other")
    assert found.target_credentials == Credentials("lyve-id", "lyve-secret")
    assert found.target_requests.object_headers == {"x-amz-storage-class": "COLD"}


def test_option_wins_over_a_location(jobs: list[SweepJob]) -> None:
    options = ("--target-bucket", "other", "--source-prefix", "raw", "--target-profile", "work")
    found = settings(jobs, "migrate", "s3://my-bucket/in", "lyve:mirror", *options)
    assert (found.source_prefix, found.target_bucket, found.target_endpoint) == ("raw", "other", ENDPOINT)
    assert found.target_credentials == AwsChain("work")


def test_location_may_be_an_option(jobs: list[SweepJob]) -> None:
    found = settings(jobs, "migrate", "--source", "lyve:a", "--target", "work:b")
    assert (found.source_bucket, found.target_bucket) == ("a", "b")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("s3://",), "'s3://' has no bucket: write s3://BUCKET/PREFIX for AWS S3, or NAME:BUCKET/PREFIX"),
        (("s3:///key",), "'s3:///key' has no bucket"),
        (("lyve",), "'lyve' has no bucket"),
        (("work:/photos",), "'work:/photos' has no bucket"),
        (("https://s3.example.com/b",), "'https://s3.example.com/b' is not a location"),
        (("./folder",), "'./folder' is not a location"),
        (("",), "'' is not a location"),
        (("s3://a", "--source", "s3://b"), "two locations name the source: write SOURCE or --source"),
        (("s3://a b",), "--source-bucket is not the name of a bucket"),
    ],
)
def test_mistake_in_a_location_is_one_clear_error(arguments: tuple[str, ...], says: str) -> None:
    ended = run("migrate", *arguments, **NEEDED)
    assert (ended.code, ended.out) == (2, "")
    assert says in " ".join(ended.err.split())


def test_unknown_name_says_how_to_add_it(config: Path) -> None:
    ended = run("migrate", "s3://a", "live:b")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith(
        f"Error: no store has the name 'live' in {config}, and its stores are lyve, work: add it with "
        "`s3-syncer config add live`, or write s3://BUCKET for a bucket of AWS S3\n"
    )
    removed = run("config", "remove", "live")
    assert (removed.code, removed.out) == (2, "")
    assert removed.err.endswith(f"Error: no store has the name 'live' in {config}, and its stores are lyve, work\n")


def test_unreadable_file_is_one_line(config: Path) -> None:
    config.chmod(0o644)
    for arguments in (("migrate", "s3://a", "lyve:b"), ("config", "list"), ("config", "remove", "lyve")):
        ended = run(*arguments)
        assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
        assert f"run `chmod 600 {config}`" in ended.err


# -- config ------------------------------------------------------------------------------------------------------------


def test_file_of_windows_may_begin_with_a_byte_order_mark(config: Path) -> None:
    before = run("config", "list").out
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes().replace(b"\n", b"\r\n"))
    ended = run("config", "list")
    assert (ended.code, ended.out) == (0, before)


def test_list_hides_secrets(config: Path) -> None:
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert run("config", "list").out.splitlines() == [
        "lyve\thttps://s3.example.com\teu-1\t\taccess key lyve-id",
        "work\tAWS S3\t\tphotos\tprofile work",
    ]
    listed = run("config", "list", "--json").out
    assert json.loads(listed)["lyve"]["access_key_id"] == "lyve-id"
    assert "secret" not in listed
    assert run("config", "path").out == f"{config}\n"


def test_remove_removes_one_store() -> None:
    assert run("config", "remove", "lyve").code == 0
    assert run("config", "list").out.splitlines() == ["work\tAWS S3\t\tphotos\tprofile work"]


def test_store_is_replaced_only_when_asked() -> None:
    ended = run("config", "add", "work", "--profile", "other")
    assert ended.code == 2
    assert "already has a store 'work': add --overwrite" in ended.err
    assert run("config", "add", "work", "--profile", "other", "--overwrite").code == 0
    assert "profile other" in run("config", "list").out


def added(*arguments: str, text: str = "") -> Ended:
    result = CliRunner().invoke(cli, ["config", "add", *arguments], input=text)
    return Ended(result.exit_code, result.stdout, result.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("a", "--endpoint", ENDPOINT), 3, "a store with an endpoint needs credentials"),
        (("a", "--endpoint", "s3.example.com"), 2, "--endpoint must be a URL such as https://s3.example.com"),
        (("a", "--profile", "b", "--region", "us_1"), 2, "--region must be a region such as us-east-1, not 'us_1'"),
        (("a", "--access-key-id", "b"), 2, "standard input has no secret access key"),
        (("s3", "--profile", "b"), 3, "'s3' cannot be the name of a store"),
    ],
)
def test_mistake_adds_nothing(config: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    before = config.read_text()
    ended = added(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err
    assert config.read_text() == before


def test_secret_is_no_option() -> None:
    assert added("a", "--secret-access-key", "b").code == 2
