"""The verbs ``try`` and ``demo``. What they do is loaded when they are called: it brings servers and services along."""

from pathlib import Path
from typing import Annotated

import typer

KeepOption = Annotated[
    Path | None,
    typer.Option(
        help="Keep the data in this folder, to look into it afterwards: logs, the event log, and in sites/ each site."
    ),
]


def try_(
    sources: Annotated[
        list[str], typer.Argument(help="Exports (zip or folder), or the word “sample”.", metavar="SOURCE...")
    ],
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    keep: KeepOption = None,
) -> None:
    """Try a migration on this machine: each SOURCE into an empty stand-in site of its own. Nothing leaves the machine.

    Exit code 0: every plan FINISHED and the sums agree. 3: a plan FAILED or STOPPED, and the sums agree. 1: they do
    not, or a SOURCE cannot be read.
    """
    from cli.tryout import run_sources

    run_sources(sources, json, keep)


def demo(
    keep: KeepOption = None,
) -> None:
    """See a migration: two sample servers move into two stand-in sites, one of them with a conflict waiting."""
    from cli.tryout import run_demo

    run_demo(keep)


def register(app: typer.Typer) -> None:
    """Adds these verbs to the command line."""
    app.command("try")(try_)
    app.command("demo")(demo)
