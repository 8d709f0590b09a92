"""abet sync SRC DST"""

from typing import Annotated

import typer

from abet.cli.options import say
from abet.cli.panels import KEEP
from abet.text import counted


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(name="sync", rich_help_panel=KEEP)(sync)


def sync(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Folder or s3://bucket/prefix to copy from.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="Folder or s3://bucket/prefix to bring up to date.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would happen on stdout; change nothing.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete files of DST that SRC does not have.")] = False,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Hash all local files again instead of trusting size and time.")
    ] = False,
) -> None:
    """Copy what differs, by size and SHA-256, between folders and S3; an interrupted sync goes on where it was."""
    from abet.places import parse_place
    from abet.site import load_site
    from abet.storage import open_storage
    from abet.sync import sync as synchronise
    from abet.text import printable

    site = load_site()
    one, two = (open_storage(parse_place(text), site.s3) for text in (source, target))
    report = synchronise(one, two, delete=delete, dry_run=dry_run, checksum=checksum)
    if dry_run:
        for action, names in (("copy", report.copied), ("delete", report.deleted)):
            for name in names:
                typer.echo(f"{action}  {printable(name, limit=1024)}")
    would = "would be " if dry_run else ""
    say(
        f"{counted(len(report.copied), 'file')} {would}copied ({report.bytes / 1e6:.1f} MB), {len(report.kept)} kept, "
        f"{len(report.deleted)} {would}deleted"
    )
