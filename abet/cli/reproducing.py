"""abet reproduce"""

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from abet.cli.comparing import write_place
from abet.cli.options import DeviceOption, ModelOption, folder_of, open_data, place_of, require_output, say
from abet.cli.panels import EVALUATE
from abet.errors import UsageError
from abet.places import Place, parse_place

if TYPE_CHECKING:
    from abet.report.records import Metrics
    from abet.reproduction.needs import Network
    from abet.reproduction.table import PaperTable, Role
    from abet.reproduction.verdict import Cell
    from abet.site import SiteConfig

RESULT = "reproduction.json"
"""In the folder of the runs."""


OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="PLACE",
        help="Folder of the runs, also s3://. Default: reproduction below the site's artifacts.",
    ),
]
AbetOption = Annotated[
    str | None,
    typer.Option(
        "--abet-checkpoint", metavar="PLACE", help="AbeT's network. Default: abet-cityscapes in the site's weights."
    ),
]
PlainOption = Annotated[
    str | None,
    typer.Option(
        "--plain-checkpoint",
        metavar="PLACE",
        help="NVIDIA's plain one. Default: nvidia-cityscapes or cityscapes_best.pth in the site's weights.",
    ),
]
RootsOption = Annotated[
    list[str] | None,
    typer.Option("--data-root", metavar="SET=PLACE", help="Root of a set; repeat for more. Default: the site file's."),
]
ToleranceOption = Annotated[
    float | None,
    typer.Option("--tolerance", min=0, help="Percentage points by which a reproduced figure may be off. Default: 0.1."),
]
PartialOption = Annotated[
    bool, typer.Option("--partial", help="Evaluate what is there, and say of the rest why it is not.")
]
Format = Literal["text", "md", "csv", "latex"]
FormatOption = Annotated[Format, typer.Option("--format", help="Of the table on stdout.")]
TableOption = Annotated[
    str | None,
    typer.Option(
        "--table", metavar="FILE", help="Another table, YAML as abet/reproduction/table.yaml. Default: AbeT's."
    ),
]


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""

    def reproduce(
        output: OutputOption = None,
        abet_checkpoint: AbetOption = None,
        plain_checkpoint: PlainOption = None,
        data_root: RootsOption = None,
        tolerance: ToleranceOption = None,
        partial: PartialOption = False,
        format_: FormatOption = "text",
        table: TableOption = None,
        device: DeviceOption = "auto",
        model: ModelOption = "cityscapes_finetune",
    ) -> None:
        """Evaluate AbeT's and NVIDIA's networks on the paper's sets, and compare with the paper's table."""
        from abet.site import load_site

        tolerance_points = _tolerance_points(tolerance)
        site = load_site()
        place = place_of(output) or site.artifacts / "reproduction"
        paper = _paper_table(table)
        roots = _roots(data_root or [], paper)
        _require_ready(place, device, site)
        job = _Reproduction(app, paper, place, site, device, model)
        job.prepare({"abet": place_of(abet_checkpoint), "plain": place_of(plain_checkpoint)}, roots, partial=partial)
        job.evaluate()
        job.show(format_, tolerance_points)

    app.command(rich_help_panel=EVALUATE)(reproduce)


def _tolerance_points(given: float | None) -> float:
    """In percentage points. Raises UsageError for one that is not finite."""
    from abet.reproduction.verdict import TOLERANCE_POINTS

    if given is not None and not math.isfinite(given):
        raise UsageError(f"--tolerance {given}: a finite number of percentage points is needed")
    return TOLERANCE_POINTS if given is None else given


def _paper_table(given: str | None) -> "PaperTable":
    """The table of --table, else AbeT's. Raises UsageError for one that cannot be read."""
    from abet.reproduction.table import load_table

    return load_table(None if given is None else folder_of("--table", given, remedy="fetch it with `abet sync` first"))


def _roots(given: Sequence[str], paper: "PaperTable") -> dict[str, Place]:
    """The places of --data-root by set. Raises UsageError for a set that the table does not have."""
    from abet.reproduction.needs import given_roots

    return {name: parse_place(text) for name, text in given_roots(given, paper.sets).items()}


def _require_ready(output: Place, device: str, site: "SiteConfig") -> None:
    """Raises UsageError where the device is not there, or the runs cannot be written."""
    from abet.devices import choose_device

    choose_device(device)
    require_output(output, kind="folder", s3=site.s3)


class _Reproduction:
    """Every evaluation is the ordinary command, so that it can be repeated, or sharded, by hand; done ones are kept."""

    def __init__(
        self, app: typer.Typer, table: "PaperTable", output: Place, site: "SiteConfig", device: str, model: str
    ) -> None:
        self._app, self._table, self._output, self._site = app, table, output, site
        self._device, self._model = device, model
        self._networks: dict[Role, Network] = {}
        self._roots: dict[str, Place] = {}
        self._absent: dict[tuple[Role, str], str] = {}
        """(network, set) -> why it cannot be evaluated."""
        self._todo: list[tuple[Role, str]] = []

    def prepare(self, checkpoints: Mapping["Role", Place | None], roots: Mapping[str, Place], *, partial: bool) -> None:
        """Find out what is finished, what is to be done and what is missing for it; raises before any work."""
        from abet.reproduction.needs import Missing, find_data, find_network, require

        missing: list[Missing] = []
        lacking: dict[str, str] = {}
        for role in self._table.roles:
            network = find_network(role, checkpoints[role], self._site, self._model)
            if isinstance(network, Missing):
                lacking[role] = str(network)
            else:
                self._networks[role] = network
            unfinished = [name for name in self._table.sets if name not in self._finished(role)]
            self._todo += [(role, name) for name in unfinished]
            if isinstance(network, Missing) and (unfinished or network.broken):
                missing.append(network)
        for name in dict.fromkeys(name for _, name in self._todo):
            root = find_data(name, self._table.sets[name], roots.get(name), self._site)
            if isinstance(root, Missing):
                missing.append(root)
                lacking[name] = str(root)
            else:
                self._roots[name] = root
        require(missing, partial=partial)
        for role, name in self._todo:
            if why := [lacking[key] for key in (role, name) if key in lacking]:
                self._absent[role, name] = why[0]
        self._todo = [key for key in self._todo if key not in self._absent]
        if not self._todo and not any(map(self._finished, self._table.roles)):
            require(missing, partial=False)  # a part of nothing is nothing
        say(*(f"note: {entry}" for entry in missing))
        self._verify_data()

    def _finished(self, role: "Role") -> Mapping[str, "Metrics"]:
        from abet.reproduction.needs import read_finished

        return read_finished(self._output / role, self._table.sets, self._networks.get(role), self._site)

    def _verify_data(self) -> None:
        """Decode every file of every set that will be evaluated: none fails after the first set has taken hours."""
        from abet.cli.before_passes import verified_pixels

        for name in dict.fromkeys(name for _, name in self._todo):
            data = open_data(name, self._roots[name], self._table.sets[name].split, self._site)
            verified_pixels(data, whole=True)

    def evaluate(self) -> None:
        """Run what is to be done; figures go to stderr here, stdout is the table's."""
        for role, name in self._todo:
            what = ("--dataset", name, "--data-root", self._roots[name], "--split", self._table.sets[name].split)
            network = ("--checkpoint", self._networks[role].place, "--device", self._device, "--model", self._model)
            words = [str(word) for word in ("evaluate", *network, *what, "--output", self._output / role)]
            say("", f"$ abet {shlex.join(words)}")
            with redirect_stdout(sys.stderr):
                self._app(words, standalone_mode=False)

    def show(self, kind: Format, tolerance_points: float) -> None:
        """Print the table and write it as JSON."""
        from abet.files import json_text
        from abet.reproduction.show import render, summary
        from abet.reproduction.verdict import counts, judge_table

        found = {(role, name): metrics for role in self._table.roles for name, metrics in self._finished(role).items()}
        cells = judge_table(self._table, found, self._absent, tolerance_points=tolerance_points)
        below = summary(self._table, cells, counts(cells), tolerance_points)
        if kind == "text":
            _print_table(cells, below)
        else:
            typer.echo(render(kind, cells, below), nl=False)
        write_place(self._output / RESULT, json_text(self._result(cells, found, tolerance_points)), self._site)

    def _result(
        self, cells: Sequence["Cell"], found: Mapping[tuple["Role", str], "Metrics"], tolerance_points: float
    ) -> dict[str, object]:
        table = self._table.model_dump(mode="json", include={"paper", "arxiv", "version", "table"})
        runs = [
            {
                "network": role,
                "run": str(self._output / role),
                **metrics.model_dump(include={"dataset", "split", "images", "checkpoint", "pixels"}),
            }
            for (role, _), metrics in found.items()
        ]
        return {
            "schema": 1,
            **table,
            "tolerance_points": tolerance_points,
            "runs": runs,
            "figures": [cell.to_json() for cell in cells],
        }


def _print_table(cells: Sequence["Cell"], below: str) -> None:
    from rich.table import Column, Table

    from abet.cli.tables import console
    from abet.reproduction.show import HEADER, rows_of

    rows = rows_of(cells)
    for name in dict.fromkeys(cell.dataset for cell in cells):
        figures = (Column(title, justify="right") for title in HEADER[3:6])
        table = Table(*HEADER[1:3], *figures, *HEADER[6:], title=f"{name}, in percent")
        before = None
        for row in rows:
            if row[0] == name:
                if before not in (None, row[1]):
                    table.add_section()
                table.add_row("" if row[1] == before else row[1], *row[2:])
                before = row[1]
        console().print(table, markup=False)
    console().print(below, markup=False, soft_wrap=True)
