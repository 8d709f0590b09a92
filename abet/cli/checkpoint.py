"""abet checkpoint import | ls | promote"""

from pathlib import Path
from typing import Annotated

import typer

from abet.cli.options import ModelOption, place_of, require_output, say
from abet.places import S3Uri, parse_place

app = typer.Typer(help="Import, list and promote checkpoints.", no_args_is_help=True)


@app.command(name="import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="REF.pth", help="Published reference checkpoint.")],
    output: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    allow_partial: Annotated[
        list[str] | None,
        typer.Option(help="Tensor name or pattern that may be missing or misshapen; repeat for more."),
    ] = None,
    model: ModelOption = "cityscapes_finetune",
) -> None:
    """Read a published .pth, without executing anything in it, and write a verified safetensors checkpoint."""
    from abet.checkpoint import save
    from abet.config import load_recipe
    from abet.errors import UsageError
    from abet.published import read_published
    from abet.text import printable

    require_output(output, kind="folder")
    if output.exists():
        raise UsageError(f"{output} exists already; a checkpoint is never overwritten: choose another --output")
    weights, report = read_published(source, base=load_recipe(model).model, allow_partial=allow_partial or [])
    assert weights.source is not None
    say(f"{source.name}: {report.layout}, sha256 {weights.sha256}", f"  matched      {report.matched} tensors")
    for title, names in (("not used", report.unused), ("initialised", weights.source.initialised)):
        if names:
            some = ", ".join(map(printable, names[:6]))
            say(f"  {title:<12} {len(names)}: {some}{', ...' if len(names) > 6 else ''}")
    manifest = save(weights, output)
    say(f"wrote {output} ({manifest.files[0].bytes / 1e6:.0f} MB, sha256 {manifest.sha256[:12]})")


@app.command()
def ls(
    folder: Annotated[
        str | None, typer.Argument(metavar="PLACE", help="Folder, or s3://, to look in. Default: the site's weights.")
    ] = None,
) -> None:
    """List the checkpoints and published files below a folder, a run or a prefix in S3."""
    from rich.table import Table
    from rich.text import Text

    from abet.cli.tables import console
    from abet.listing import list_checkpoints, list_remote
    from abet.promote import DETECTOR_CLASSES, promotions
    from abet.site import load_site
    from abet.text import printable

    site = load_site()
    place = place_of(folder) or site.weights
    newest = {promotion.num_classes: promotion for promotion in promotions(site.artifacts, site.s3)}
    marked = {promotion.sha256 for promotion in newest.values()}
    table = Table("checkpoint", "kind", "head", "classes", "size MB", "sha256", "promoted", "source")
    for row in list_remote(place, site) if isinstance(place, S3Uri) else list_checkpoints(place):
        mark = "newest" if row.sha256 in marked else ""
        size = f"{row.bytes / 1e6:.1f}"
        cells = (row.name, row.kind, row.head, str(row.classes or ""), size, row.sha256[:12], mark, row.source)
        # Names and reasons come from files: neither rich's markup nor a terminal's commands
        table.add_row(*(Text(printable(cell, limit=400)) for cell in cells))
    console().print(table)
    promoted = newest.get(DETECTOR_CLASSES)
    used = site.checkpoint or (promoted and promoted.checkpoint)
    origin = "`checkpoint:` of the site file" if site.checkpoint else "the newest promotion"
    say(f"used when none is named: {used} ({origin})" if used else "used when none is named: none is promoted yet")


@app.command()
def promote(
    checkpoint: Annotated[
        str, typer.Argument(metavar="PLACE", help="Checkpoint folder, run or published .pth; also s3://.")
    ],
) -> None:
    """Make a checkpoint the one that jobs use when none is named."""
    from abet.checkpoint import resolve
    from abet.errors import CheckpointError
    from abet.listing import describe
    from abet.promote import Candidate, trained_on
    from abet.promote import promote as record
    from abet.remote import fetch_checkpoint
    from abet.site import load_site

    site = load_site()
    place = parse_place(checkpoint)
    # The best step of a run now; a later one is another promotion
    place, path = fetch_checkpoint(place, site) if isinstance(place, S3Uri) else (resolve(place), resolve(place))
    found = describe(path, weights_alone=True)
    if not found.kind.endswith("model") or found.classes is None:
        raise CheckpointError(f"{place}: a {found.kind} has no segmentation head; promote a model")
    candidate = Candidate(
        checkpoint=place,
        sha256=found.sha256,
        num_classes=found.classes,
        head=found.head,
        dataset=trained_on(place, site),
    )
    say(f"promoted {place} ({record(candidate, site.artifacts, site.s3)})")
