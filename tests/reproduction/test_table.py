"""The paper's table as it is shipped, and what a table of one's own must look like."""

from pathlib import Path

import pytest
import yaml

from abet.data.registry import OOD_SETS
from abet.errors import UsageError
from abet.reproduction.table import FIGURES, PaperTable, load_table


@pytest.fixture(scope="module")
def shipped() -> PaperTable:
    return load_table()


def printed(table: PaperTable, figure: str, dataset: str) -> dict[str, float]:
    """Method -> figure, of the methods that it is known of and that see no OOD image in training."""
    values = {row.method: getattr(row.figures[dataset], figure) for row in table.rows if row.method != "PEBAL"}
    return {method: value for method, value in values.items() if value is not None}


@pytest.mark.parametrize(("figure", "best", "average"), [("fpr95", min, -41.48), ("auprc", max, 34.20)])
def test_the_averages_of_the_papers_abstract_follow_from_its_figures(
    shipped: PaperTable, figure: str, best, average: float
) -> None:
    changes = []
    for dataset in shipped.sets:
        others = printed(shipped, figure, dataset)
        ours = others.pop("AbeT")
        changes.append(100 * (ours / best(others.values()) - 1))
    assert sum(changes) / len(changes) == pytest.approx(average, abs=0.005)


def test_its_sets_are_whole_published_splits(shipped: PaperTable) -> None:
    for name, wanted in shipped.sets.items():
        assert OOD_SETS[name].published_images[wanted.split] == wanted.images
        assert OOD_SETS[name].default_split == wanted.split


def test_its_source_is_named_and_every_gap_has_a_reason(shipped: PaperTable) -> None:
    assert (shipped.arxiv, shipped.table) == ("2401.12129", "11")
    assert shipped.roles == ("plain", "abet")
    gaps = [row for row in shipped.rows for name in shipped.sets if getattr(row.figures[name], FIGURES[0]) is None]
    assert all(row.reason for row in gaps)


def of_one_row(**changes: object) -> dict[str, object]:
    figures = {"road_anomaly": {"auroc": 90.0, "auprc": None, "fpr95": 3.1}}
    row = {"method": "m", "checkpoint": "plain", "score": "msp", "reason": "not printed", "figures": figures}
    sets = {"road_anomaly": {"split": "test", "images": 3}}
    words = {"schema": 1, "paper": "p", "arxiv": "0000.00000", "version": "v1", "table": "1"}
    return {**words, "sets": sets, "rows": [{**row, **changes}]}


def test_a_table_of_ones_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(of_one_row()))
    assert load_table(tmp_path / "t.yaml").rows[0].figures["road_anomaly"].auroc == 90


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reason": None}, "what is null needs a reason"),
        ({"checkpoint": "nvidia"}, "plain"),
        ({"figures": {"lost_and_found": {"auroc": 1, "auprc": 1, "fpr95": 1}}}, "expected road_anomaly"),
        ({"figures": {"road_anomaly": {"auroc": 101, "auprc": 1, "fpr95": 1}}}, "less than or equal to 100"),
        ({"scores": "msp"}, "did you mean"),
    ],
)
def test_another_form_is_refused_with_the_place(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(of_one_row(**changes)))
    with pytest.raises(UsageError, match=said):
        load_table(tmp_path / "t.yaml")


def test_unknown_sets_are_refused(tmp_path: Path) -> None:
    text = yaml.safe_dump(of_one_row()).replace("road_anomaly", "road_anomally")
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(UsageError, match="road_anomally is no data set"):
        load_table(tmp_path / "t.yaml")
