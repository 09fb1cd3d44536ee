"""``remotemedia doctor``: what this machine offers and lacks, and whether a run works here.

Main function: `doctor`.
"""

import textwrap
from collections.abc import Callable

import click

from remotemedia.cli.common import JSON, console_of, echo_json
from remotemedia.cli.logs import log_options, start_logs

_INDENT = " " * 29
_STYLES = {"ok": "green", "info": "blue", "warning": "yellow", "missing": "bold red"}


@click.command()
@JSON
@log_options
def doctor(json_output: bool) -> None:
    """Say what this machine offers and lacks, and try a run of a native and of a Python node.

    Exit code 1 if something is missing that is needed.
    """
    start_logs()
    from remotemedia.cli.machine import Finding, findings
    from remotemedia.cli.selftest import run_native, run_worker

    def tried(name: str, run: Callable[[], float]) -> Finding:
        try:
            return Finding(name, "ok", f"works, in {run():.2f} s")
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return Finding(name, "missing", text, "remotemedia -vv doctor shows more")

    console = console_of()
    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        found.append(finding)
        if json_output:
            return
        from rich.text import Text

        line = Text(f"{finding.status:8}", _STYLES[finding.status])
        line.append(f"{finding.name:20} {finding.value}", "default")
        console.print(line, soft_wrap=True)
        if finding.advice:
            width = max(console.width, 2 * len(_INDENT))
            advice = textwrap.fill(
                finding.advice, width, initial_indent=_INDENT, subsequent_indent=_INDENT
            )
            console.print(Text(advice))

    for finding in findings():
        tell(finding)
    tell(tried("a native node", run_native))
    tell(tried("a Python node", run_worker))
    is_well = all(finding.status != "missing" for finding in found)
    if json_output:
        echo_json({"ok": is_well, "findings": [finding._asdict() for finding in found]})
    if not is_well:
        # What is missing has been said.
        click.get_current_context().exit(1)
