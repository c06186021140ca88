"""The command `completion`: the script with which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ..click_extensions import Command

SHELLS = ("bash", "zsh", "fish")


@click.command(
    cls=Command,
    examples=[
        ("Complete in this shell", 'eval "$(s3-syncer completion bash)"'),
        ("Complete in every bash", "s3-syncer completion bash > ~/.local/share/bash-completion/completions/s3-syncer"),
        ("Complete in every zsh, with ~/.zfunc in fpath", "s3-syncer completion zsh > ~/.zfunc/_s3-syncer"),
        ("Complete in every fish", "s3-syncer completion fish > ~/.config/fish/completions/s3-syncer.fish"),
    ],
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes the commands and options of s3-syncer.

    bash 4.4 or later, zsh and fish can use it. The shell starts s3-syncer for each completion.
    """
    script = get_completion_class(shell)
    assert script is not None
    # The variable with which the script asks `s3-syncer`: click derives it from the name of the program.
    click.echo(script(ctx.find_root().command, {}, "s3-syncer", "_S3_SYNCER_COMPLETE").source())
