"""The notebook in docs/ runs, cell by cell, against a real checkpoint and real run directories."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli
from tests.trees import make_road_anomaly

NOTEBOOK = Path(__file__).parents[1] / "docs" / "explore.ipynb"


def cells() -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text())
    assert all(not cell.get("outputs") for cell in notebook["cells"]), "commit the notebook without outputs"
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore")
def test_every_cell_runs(
    cli: Cli, learned_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_road_anomaly(tmp_path / "ra", count=3)
    Image.fromarray(np.full((40, 56, 3), 90, np.uint8)).save(tmp_path / "road.jpg")
    run = ("--dataset", "road_anomaly", "--data-root", tmp_path / "ra", "--output", tmp_path / "run")
    assert cli("evaluate", "--checkpoint", learned_checkpoint, *run).code == 0

    paths, *rest = cells()
    names: dict[str, Any] = {}
    exec(paths, names)
    assert names.keys() >= {"CHECKPOINT", "PHOTOGRAPH", "RUNS"}
    names |= {"CHECKPOINT": learned_checkpoint, "PHOTOGRAPH": tmp_path / "road.jpg", "RUNS": [tmp_path / "run"]}
    for source in rest:
        exec(source, names)
    assert Path("report.html").stat().st_size > 100_000
    assert Image.open("matrix.png").width > 200
    assert "road_anomaly abet" in capsys.readouterr().out
