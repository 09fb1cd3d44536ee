"""``remotemedia clean``: away with what killed runs have left.

Main function: `clean`.
"""

import click

from remotemedia.cli.common import JSON, echo_json
from remotemedia.cli.logs import log_options, start_logs


@click.command()
@JSON
@log_options
def clean(json_output: bool) -> None:
    """Remove what killed runs of this user have left: processes, shared memory.

    What belongs to a run that lives is left alone.
    """
    start_logs()
    from remotemedia_runtime import _native

    removed, skipped = _native.sweep()
    if json_output:
        echo_json({"removed": removed, "skipped": skipped})
        return
    for name in removed:
        click.echo(f"removed {name}")
    for name in skipped:
        click.echo(f"warning: {name}", err=True)
    if not removed:
        click.echo("nothing to remove")
