"""Assembles the commands and turns errors into one message and an exit code (0, 1, 2, 3)."""

import sys
import warnings
from typing import Annotated

import typer

from abet.cli import checkpoint, data, evaluation, showing
from abet.cli.options import say
from abet.errors import AbetError
from abet.files import DISK_FULL
from abet.version import __version__

app = typer.Typer(
    help="AbeT: pixel-level out-of-distribution detection for road scenes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
evaluation.register(app)
showing.register(app)
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(data.app, name="data")


def _version(show: bool) -> None:
    if show:
        typer.echo(f"abet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    warnings.showwarning = _show_warning
    try:
        app()
    except AbetError as error:
        say(f"abet: error: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        # a full disk, a folder without permission: not our bug, so no traceback either
        reason = "no space left" if error.errno in DISK_FULL else (error.strerror or str(error))
        where = f" ({error.filename})" if error.filename else ""
        remedy = "; free some space or choose another --output: nothing half-written was kept"
        say(f"abet: error: {reason}{where}{remedy if error.errno in DISK_FULL else ''}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("abet: interrupted")
        sys.exit(130)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    say(f"abet: note: {message}")
