"""Assembles the commands and turns errors into one message and an exit code (0, 1, 2, 3)."""

import errno
import re
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from abet.cli import checkpoint, data, evaluation, showing
from abet.cli.options import say
from abet.errors import AbetError
from abet.files import DISK_FULL
from abet.version import __version__

INTERRUPTED = 130
TEMPORARY = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{16}\.partial(?P<suffix>\.[^.]*)?")
"""Names that `abet.files.atomic_path` gives to files which are not complete yet."""

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
        say(f"abet: error: {_explain(error)}")
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer has turned Ctrl-C into it, without a word
            say("abet: interrupted")
        raise


def _explain(error: OSError) -> str:
    """What failed, where, and what to do; a file that is half-written under a temporary name goes by its own."""
    name = str(error.filename2 or error.filename or "")
    match = TEMPORARY.fullmatch(Path(name).name)
    place = Path(name).with_name(f"{match['stem']}{match['suffix'] or ''}") if match else name
    where = f" ({place})" if name else ""
    if error.errno in DISK_FULL:
        return f"no space left{where}; free some space or choose another --output: nothing half-written was kept"
    remedy = {
        errno.EACCES: "; get permission for it or choose another path",
        errno.EPERM: "; get permission for it or choose another path",
        errno.EROFS: "; this file system is read-only: choose another --output",
        errno.ENAMETOOLONG: "; choose a shorter name",
        errno.ENOTDIR: "; a part of this path is a file, not a folder: choose another path",
        errno.EISDIR: "; this is a folder: name a file",
        errno.EMFILE: "; raise the limit of open files (ulimit -n)",
    }.get(error.errno or 0, "")
    return f"{error.strerror or error}{where}{remedy}"


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    say(f"abet: note: {message}")
