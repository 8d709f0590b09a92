"""A published table of figures, validated: what a paper prints, row by row."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from abet.names import OOD_NAMES
from abet.settings import Strict, parse, read_yaml

Role = Literal["abet", "plain"]
"""The network with the learned temperature, and the one without."""
FigureName = Literal["auroc", "auprc", "fpr95"]

FIGURES: Final[tuple[FigureName, ...]] = ("auroc", "auprc", "fpr95")
TITLES: Final[Mapping[FigureName, str]] = {"auroc": "AUROC", "auprc": "AUPRC", "fpr95": "FPR@95"}


class Printed(Strict):
    """Figures in percent as they are printed; null: not known, the row's reason says why."""

    auroc: float | None = Field(ge=0, le=100, allow_inf_nan=False)
    auprc: float | None = Field(ge=0, le=100, allow_inf_nan=False)
    fpr95: float | None = Field(ge=0, le=100, allow_inf_nan=False)


class TableSet(Strict):
    """Which images a column is of."""

    split: str
    images: int = Field(ge=1, description="of the whole split; figures of another number are not compared")


class TableRow(Strict):
    """One method."""

    method: str
    checkpoint: Role | None = Field(description="null: of neither network")
    score: str | None = Field(description="its key in `abet scores`; null: not a score of ours")
    reason: str | None = Field(default=None, description="why figures, checkpoint or score are null")
    figures: dict[str, Printed] = Field(description="data set name -> figures")

    @model_validator(mode="after")
    def _nulls_are_explained(self) -> "TableRow":
        known = [getattr(printed, name) for printed in self.figures.values() for name in FIGURES]
        if self.reason is None and None in (*known, self.checkpoint, self.score):
            raise ValueError(f"{self.method}: what is null needs a reason")
        return self


class PaperTable(Strict):
    """The whole table, with where it stands."""

    schema_: Literal[1] = Field(alias="schema")
    paper: str
    arxiv: str
    version: str
    table: str
    sets: dict[str, TableSet]
    rows: tuple[TableRow, ...]

    @model_validator(mode="after")
    def _rows_are_of_the_sets(self) -> "PaperTable":
        if unknown := [name for name in self.sets if name not in OOD_NAMES]:
            raise ValueError(f"sets: {unknown[0]} is no data set; the choices are: {', '.join(OOD_NAMES)}")
        for row in self.rows:
            if set(row.figures) != set(self.sets):
                raise ValueError(f"{row.method}: figures of {', '.join(row.figures)}, expected {', '.join(self.sets)}")
        return self

    @property
    def roles(self) -> tuple[Role, ...]:
        """The networks that it has rows of, in their order there."""
        return tuple(dict.fromkeys(row.checkpoint for row in self.rows if row.checkpoint is not None))


def load_table(path: Path | None = None) -> PaperTable:
    """The AbeT paper's table, or the one in a YAML file of the same form. Raises UsageError for any other file."""
    if path is None:
        with resources.as_file(resources.files("abet.reproduction") / "table.yaml") as shipped:
            return parse(PaperTable, read_yaml(shipped), source="abet/reproduction/table.yaml")
    return parse(PaperTable, read_yaml(path), source=str(path))
