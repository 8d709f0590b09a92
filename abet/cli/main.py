"""Assembles the commands and turns errors into one message and an exit code (0, 1, 2, 3)."""

import errno
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from abet.cli import (
    calibration,
    checkpoint,
    comparing,
    components,
    controls,
    data,
    demo,
    evaluation,
    fitting,
    launch,
    lists,
    merging,
    predicting,
    reporting,
    reproducing,
    site,
    submission,
    sync,
    training,
    validation,
)
from abet.cli.options import say
from abet.cli.panels import KEEP
from abet.errors import AbetError, UsageError
from abet.exits import (
    DONE,
    FAILED,
    INTERRUPTED,
    STOPPED,
    LostPeerError,
    announce_rank,
    leave_verdict,
    record_exit,
    speaks_for_itself,
)
from abet.files import DISK_FULL, TEMPORARY
from abet.install import FULL_INSTALL, FULL_REMEDY
from abet.version import __version__


class _Commands(TyperGroup):
    """The commands; a file that ends early is an error with its trace, where typer says only "Aborted."."""

    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise RuntimeError(f"something that was read ends early: {error}") from error


app = typer.Typer(
    cls=_Commands,
    help="AbeT: pixel-level out-of-distribution detection for road scenes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
demo.register(app)
site.register(app)
training.register(app)
launch.register(app)
validation.register(app)
evaluation.register(app)
merging.register(app)
fitting.register(app)
lists.register(app)
components.register(app)
calibration.register(app)
reporting.register(app)
predicting.register(app)
comparing.register(app)
reproducing.register(app)
controls.register(app)
submission.register(app)
sync.register(app)
app.add_typer(checkpoint.app, name="checkpoint", rich_help_panel=KEEP)
app.add_typer(data.app, name="data", rich_help_panel=KEEP)


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
    """Entry point of the console script, and of every rank that `abet launch` starts."""
    announce_rank()
    warnings.showwarning = _show_warning
    try:
        app()
    except AbetError as error:
        _leave(error.exit_code, str(error), follows=isinstance(error, LostPeerError))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in FULL_INSTALL:
            record_exit(FAILED, f"{type(error).__name__}: {error}")
            raise
        _leave(UsageError.exit_code, f"this command computes, and {error.name} is not installed here: {FULL_REMEDY}")
    except OSError as error:
        # a full disk, a folder without permission: not our bug, so no traceback either
        _leave(FAILED, _explain(error))
    except SystemExit as stop:
        # typer has turned Ctrl-C into a code without a word, and what it said of an option is said already
        _leave(stop.code if isinstance(stop.code, int) else DONE, "interrupted" if stop.code == INTERRUPTED else "")
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        leave_verdict(FAILED, reason)
        record_exit(FAILED, reason)
        raise


def _leave(code: int, reason: str, *, follows: bool = False) -> NoReturn:
    """Say the reason, here or through the launcher, and exit."""
    if reason and speaks_for_itself():
        say(f"abet: {reason}" if code in (STOPPED, INTERRUPTED) else f"abet: error: {reason}")
    leave_verdict(code, reason)
    record_exit(code, reason, follows=follows)
    sys.exit(code)


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
