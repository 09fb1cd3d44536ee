"""``remotemedia validate``: what is wrong with a manifest, and how it would run.

Main function: `validate`.
"""

from pathlib import Path

import click

from remotemedia.cli.common import JSON, MANIFEST, OVERRIDES, echo_json, plan_of, show_warnings
from remotemedia.cli.logs import log_options, start_logs


@click.command()
@MANIFEST
@OVERRIDES
@JSON
@click.option("--quiet", "-q", is_flag=True, help="Print only warnings and errors.")
@log_options
def validate(manifest: Path, overrides: tuple[str, ...], json_output: bool, quiet: bool) -> None:
    """Check a MANIFEST file, and show how it would run. Nothing is started."""
    start_logs(quiet)
    found = plan_of(manifest, overrides)
    if json_output:
        echo_json(found["details"])
        return
    show_warnings(found["warnings"])
    if not quiet:
        click.echo(found["plan"])
