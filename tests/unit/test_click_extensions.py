"""The group of all commands."""

from __future__ import annotations

import click
from click.testing import CliRunner

from s3_syncer.cli.click_extensions import LazyGroup


def test_ctrl_c_before_a_command_handles_signals_is_no_difference() -> None:
    @click.command()
    def command() -> None:
        raise KeyboardInterrupt

    group = LazyGroup(commands={"command": command})
    ended = CliRunner().invoke(group, ["command"])
    assert (ended.exit_code, ended.output) == (130, "")
