"""``remotemedia completion``: what a shell has to read to complete the command.

Main function: `completion`. What is offered is said beside each option.
"""

import click

from remotemedia.cli.logs import log_options

_NAME = "remotemedia"
_VARIABLE = "_REMOTEMEDIA_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@log_options
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion of a SHELL.

    \b
      bash  eval "$(remotemedia completion bash)"       in ~/.bashrc
      zsh   eval "$(remotemedia completion zsh)"        in ~/.zshrc
      fish  remotemedia completion fish | source        in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click knows no completion of {shell}")
    click.echo(found(ctx.find_root().command, {}, _NAME, _VARIABLE).source())
