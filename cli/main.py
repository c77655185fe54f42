"""``cloudward``: the command line. Exit codes are in ``cli.errors``."""

import importlib
import importlib.util
import os
import signal
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from pydantic import ValidationError

from cli import errors, local
from cli.errors import CliError

app = typer.Typer(
    name="cloudward",
    help="Moves spaces, users and groups from Confluence Server and Data Center to Confluence Cloud.",
    epilog="Exit codes: 0 done; 1 failed, or sums or the log do not agree; 2 wrong usage; 3 a plan failed or was stopped;"
    " 69 something needed is away; 78 settings are wrong; 130 interrupted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cloudward {version('cloudward')}")
        raise typer.Exit


@app.callback()
def _options(
    show: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del show


local.register(app)
#: Verbs that stand alone load only their own module: all together take a second to load.
_ALONE = {"sandbox": "cli.sandbox"}
_MODULES = (
    "cli.access",
    "cli.audit",
    "cli.connecting",
    "cli.people",
    "cli.remote",
    "cli.planning",
    "cli.following",
    "cli.sandbox",
    "cli.tables",
    "cli.webhooks",
    "cli.trials",
)
for _module in [_ALONE[verb] for verb in sys.argv[1:2] if verb in _ALONE] or _MODULES:
    if importlib.util.find_spec(_module) is not None:
        importlib.import_module(_module).register(app)


def main() -> None:
    """Runs the command line and ends the process: an error is told as what, why and what next, never as a traceback."""
    if os.getpid() == 1:
        # The first process of a container gets no signal that it has not asked for: it would be waited for in vain.
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        # With standalone_mode False, typer returns the code of typer.Exit instead of ending the process.
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else errors.OK)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("Interrupted.", err=True)
        sys.exit(errors.INTERRUPTED)
    except BrokenPipeError:
        # The reader of the output has gone, as ``| head`` does.
        sys.stderr.close()
        sys.exit(errors.OK)
    except Exception as error:  # noqa: BLE001 - the last resort: nobody should have to read a traceback
        sys.exit(_tell(error))


def _tell(error: Exception) -> int:
    """Says what went wrong on stderr and returns the exit code."""
    from cli.embedded.child import EmbeddedError
    from shared.events.database import DatabaseUnavailable
    from shared.events.schema import SchemaError
    from shared.ops.process import Unavailable

    if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "format_message"):
        if not error.format_message():  # no arguments: the help was shown
            return errors.USAGE
        context = getattr(error, "ctx", None)
        hint = f" See {context.command_path} --help." if context is not None else ""
        _say(str(error.format_message()), "", hint.strip())
        return int(getattr(error, "exit_code", errors.USAGE))
    if isinstance(error, CliError):
        _say(error.what, error.why, error.way_on)
        return error.code
    if isinstance(error, EmbeddedError):
        _say(error.what, error.why, error.way_on)
        return errors.FAILED
    if isinstance(error, DatabaseUnavailable | Unavailable | SchemaError):
        _say(str(error), "", "")
        return errors.UNAVAILABLE
    if isinstance(error, ValidationError):
        names = ", ".join("_".join(str(part) for part in item["loc"]).upper() for item in error.errors())
        _say("The settings are wrong", names, "Correct the environment variables CLOUDWARD_….")
        return errors.MISCONFIGURED
    if isinstance(error, OSError):
        _say(f"{error.strerror or error}", str(error.filename or ""), "")
        return errors.FAILED
    from shared.ops.log import describe

    _say(
        "Cloudward met an error of its own",
        "; ".join(describe(error, messages=True)),
        "This is a defect. Please report it with the line above; check it for names before you send it.",
    )
    return errors.FAILED


def _say(what: str, why: str, way_on: str) -> None:
    typer.secho(f"error: {what}" + (f": {why}" if why else ""), fg="red", err=True)
    if way_on:
        typer.echo(f"  {way_on}", err=True)


if __name__ == "__main__":
    main()
