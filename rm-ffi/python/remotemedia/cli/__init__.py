"""The ``remotemedia`` command.

Main function: `main`. Each subcommand is a module of this package, imported when it is asked for.
Nothing here is meant to be imported by other programs, which use `remotemedia.Session`.
"""

from remotemedia.cli.app import main

__all__ = ["main"]
