"""abet merge"""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from abet.cli.options import DatasetOption, require_ood_set, require_output, say
from abet.cli.panels import EVALUATE
from abet.errors import DataError
from abet.places import Place, parse_place

if TYPE_CHECKING:
    from abet.site import SiteConfig


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command(rich_help_panel=EVALUATE)(merge)


def merge(
    run: Annotated[str, typer.Argument(help="Run that the shards were evaluated into: a folder, or s3://.")],
    dataset: DatasetOption,
    checkpoint: Annotated[
        str | None, typer.Option(help="What the evaluation should be of; shards of another checkpoint are refused.")
    ] = None,
    wait_minutes: Annotated[
        float | None, typer.Option(min=0, help="Wait so long for shards that are not there yet. Default: do not wait.")
    ] = None,
    components: Annotated[
        bool, typer.Option("--components", help="Exit 3 unless components are among the figures that are written.")
    ] = False,
) -> None:
    """Add up the shards of an evaluation into metrics.json. Exits 3 and names them when shards are missing."""
    from abet.shard_wait import await_shards
    from abet.site import load_site

    require_ood_set(dataset)
    place = parse_place(run)
    site = load_site()
    require_output(place, kind="folder", s3=site.s3)
    sha256 = None if checkpoint is None else _identity(parse_place(checkpoint), site)
    if wait_minutes is not None:
        await_shards(place, dataset, site, minutes=wait_minutes)
    metrics = merge_and_print(place, dataset, site, sha256=sha256)
    if components:
        _require_components(place, dataset, metrics)


def _require_components(run: Place, dataset: str, metrics: "dict[str, Any]") -> None:
    """Raises DataError for figures without components, which whoever asked for them would take for the whole."""
    from abet.metrics.components import PROTOCOL
    from abet.run import evaluation_dir

    if not any(PROTOCOL in entry.get("protocols", {}) for entry in metrics["scores"].values()):
        raise DataError(
            f"{evaluation_dir(run, dataset)}: the figures are written, without components: those that are there were "
            "counted for other figures, or are not all there: remove components.json with the components-*.npz "
            "beside it, and run `abet components` again"
        )


def _identity(checkpoint: Place, site: "SiteConfig") -> str:
    """SHA-256 of a checkpoint's weights, by its manifest; of a published file its own. Nothing is evaluated by it."""
    from abet.checkpoint import read_manifest, resolve
    from abet.files import sha256_of
    from abet.remote import local_checkpoint

    path = resolve(local_checkpoint(checkpoint, site))
    return read_manifest(path).sha256 if path.is_dir() else sha256_of(path)


def merge_and_print(
    run: Place, dataset: str, site: "SiteConfig", *, sha256: str | None = None, last: bool = True
) -> "dict[str, Any]":
    """Merge all shards of a run, print the figures, and return them.

    Unless a second pass follows (``last``), it prints components and what comes next, too.
    """
    from abet.cli.protocol_tables import print_protocols
    from abet.cli.tables import print_components, print_metrics
    from abet.merge import merge_in
    from abet.run import evaluation_dir

    metrics = merge_in(run, dataset, site, sha256=sha256)
    print_metrics(metrics)
    print_protocols(metrics)
    if last:
        print_components(metrics)
    say(f"wrote {evaluation_dir(run, dataset) / 'metrics.json'}")
    if last:
        say(f"next: abet report {shlex.quote(str(run))} --output report.html")
    return metrics
