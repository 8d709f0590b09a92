"""All processes start from the weights that rank 0 chose, whatever the run that they come from has become since."""

import json
from pathlib import Path

import pytest

from abet import checkpoint
from abet.checkpoint import step_folder
from abet.distributed import Topology
from abet.errors import CheckpointError
from abet.places import Place
from abet.site import SiteConfig
from abet.storage import open_storage
from abet.training.start_weights import StartWeights, choose_start_weights
from tests.conftest import random_weights
from tests.s3_server import S3Server
from tests.test_distributed import ALONE, grouped, processes


def saved(run: Path, *, best: int) -> Path:
    """A run with two steps of different weights."""
    for step in (10, 20):
        if not step_folder(run, step).is_dir():
            checkpoint.save(random_weights("learned", seed=step), step_folder(run, step))
    (run / "checkpoints" / "best.json").write_text(json.dumps({"step": best, "miou": 0.5}))
    return run


def as_each_rank_sees_it(topology: Topology, seen: list[Place], site: SiteConfig) -> StartWeights:
    return choose_start_weights(seen[topology.rank], site, topology)


def test_of_a_run_the_best_step_is_named_with_its_weights(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", best=10)
    chosen = choose_start_weights(run, SiteConfig(), ALONE)
    assert chosen.path == step_folder(run, 10).resolve()
    assert chosen.record == {"uri": chosen.path.as_posix(), "sha256": checkpoint.read(chosen.path).sha256}
    with pytest.raises(CheckpointError, match="no such file or folder"):
        choose_start_weights(tmp_path / "absent", SiteConfig(), ALONE)


@pytest.mark.faults
def test_rank_0_decides_for_all(s3: S3Server, tmp_path: Path) -> None:
    """To each rank another step is the best: the run has gone on between their looks."""
    site = SiteConfig(s3=s3.settings, scratch=tmp_path / "scratch")
    root, places = s3.place("runs"), list[Place]()
    for name, best in (("then", 10), ("now", 20)):
        run, place = saved(tmp_path / name, best=best), root / name
        for path in sorted(path for path in run.rglob("*") if path.is_file()):
            open_storage(place, s3.settings).upload(path, path.relative_to(run).as_posix())
        places.append(place)
    local: list[Place] = [tmp_path / "then", tmp_path / "now"]
    with processes(2) as run_in:
        fetched = run_in(grouped, as_each_rank_sees_it, places, site)
        found = run_in(grouped, as_each_rank_sees_it, local, site)
    assert fetched[0] == fetched[1]
    assert fetched[0].uri == str(root / "then/checkpoints/step-00000010")
    assert found[0] == found[1]
    assert found[0].uri == step_folder(tmp_path / "then", 10).resolve().as_posix()
