"""Unit tests of --module and --outputs: the module gives the options that are not given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from tests.support.module_outputs import module_outputs, terraform_output

from s3_syncer.cli.click_extensions import Command, with_options
from s3_syncer.cli.commands import cli
from s3_syncer.cli.options.groups import KEY_DELETES, TAGS, WORKERS
from s3_syncer.cli.options.module import module_of
from s3_syncer.cli.options.stores import STORES


@click.command(cls=Command)
@with_options(STORES, TAGS, KEY_DELETES, WORKERS)
def show(**options: Any) -> None:
    """Print the options and the region."""
    for name in ("source_bucket", "source_prefix", "target_endpoint", "tags", "delete", "bulk_queue_url", "log_groups"):
        click.echo(f"{name}={options[name]}")
    click.echo(f"region={os.environ.get('AWS_DEFAULT_REGION')}")


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.commands, "show", show)


def run(arguments: Sequence[str], text: str | None = None, **environment: str) -> Result:
    return CliRunner().invoke(cli, [*arguments], input=text, env={"S3_SYNCER_OUTPUTS": None, **environment})


def test_module_gives_the_options_that_are_not_given() -> None:
    environment = {**module_outputs()["environment"], "SYNC_TAGS": "false", "SYNC_DELETE": "false"}
    text = terraform_output(s3_syncer=module_outputs(environment=environment))
    ended = run(["--outputs", "-", "show"], text, AWS_DEFAULT_REGION="us-west-2")
    assert ended.output.splitlines() == [
        "source_bucket=my-bucket",
        "source_prefix=photos/",
        "target_endpoint=https://s3.example.com",
        "tags=False",
        "delete=False",
        "bulk_queue_url=https://sqs.eu-west-1.amazonaws.com/123456789012/mirror-bulk",
        "log_groups=('/aws/lambda/mirror',)",
        "region=eu-west-1",
    ]


def test_command_line_wins_over_the_module_and_the_module_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(terraform_output(s3_syncer=module_outputs()))
    ended = run(
        ["--outputs", str(file), "show", "--source-prefix", "videos/"], SOURCE_BUCKET="other", SOURCE_PREFIX="other/"
    )
    assert "source_bucket=my-bucket\nsource_prefix=videos/\n" in ended.output
    assert "source_bucket=other\n" in run(["show"], SOURCE_BUCKET="other").output


def test_region_is_that_of_the_module_until_the_command_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert "region=eu-west-1" in run(["--outputs", "-", "show"], terraform_output(a=module_outputs())).output
    assert os.environ["AWS_DEFAULT_REGION"] == "us-west-2"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    run(["--outputs", "-", "show"], terraform_output(a=module_outputs()))
    assert "AWS_DEFAULT_REGION" not in os.environ


def test_file_may_come_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(terraform_output(s3_syncer=module_outputs()))
    assert "source_bucket=my-bucket" in run(["show"], S3_SYNCER_OUTPUTS=str(file)).output


def test_help_reads_no_outputs(tmp_path: Path) -> None:
    ended = run(["--module", str(tmp_path), "--terraform", "/missing", "show", "--help"])
    assert ended.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--outputs", "/missing/outputs.json"], "the file '/missing/outputs.json' cannot be read"),
        (["--outputs", __file__], f"the file '{__file__}': not the output of `terraform output -json`: "),
        (["--module", ".", "--terraform", "/missing/tofu"], "the program '/missing/tofu' does not exist"),
    ],
)
def test_outputs_that_cannot_be_read_are_one_line(arguments: list[str], message: str) -> None:
    ended = run([*arguments, "show"])
    assert ended.exit_code == 3
    assert ended.stderr.startswith("s3-syncer: ")
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_command_for_a_module_says_how_to_name_one() -> None:
    ended = run(["status"])
    assert ended.exit_code == 2
    assert "give --module DIRECTORY, or --outputs FILE, before it" in ended.stderr


def test_command_line_for_the_same_module_repeats_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command(cls=Command)
    @click.pass_context
    def name(ctx: click.Context) -> None:
        click.echo(module_of(ctx).command)

    monkeypatch.setitem(cli.commands, "name", name)
    (tmp_path / "my infra").mkdir()
    ended = run(["--module", str(tmp_path / "my infra"), "--module-name", "a", "name"])
    assert ended.output == f"s3-syncer --module '{tmp_path}/my infra' --module-name a\n"


def test_outputs_that_are_typed_win_over_a_module_in_the_environment(tmp_path: Path) -> None:
    text = terraform_output(a=module_outputs())
    ended = run(["--outputs", "-", "show"], text, S3_SYNCER_MODULE=str(tmp_path))
    assert "region=eu-west-1" in ended.output


def test_a_module_and_outputs_are_one_clear_error(tmp_path: Path) -> None:
    ended = run(["--module", str(tmp_path), "--outputs", "-", "show"])
    assert ended.exit_code == 2
    assert "--module and --outputs both give the outputs of a module: give only one of them" in ended.stderr
