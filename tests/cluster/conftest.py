"""One cluster for all tests of this folder, apart from one that a user may have up."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import slurm_cluster
from tests.cluster.job_site import JobSite
from tests.conftest import unavailable
from tests.s3_server import S3Server
from tests.slurm_cluster import SlurmCluster


@pytest.fixture(scope="session")
def running_slurm() -> Iterator[SlurmCluster]:
    """SLURM and S3 on this machine, started with the first test that wants them."""
    if reason := slurm_cluster.why_not():
        unavailable(reason)
    root = Path(tempfile.mkdtemp(prefix="abet-slurm-"))
    root.chmod(0o755)  # munge's socket is for every user
    cluster = SlurmCluster(root)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop(purge=True)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def running_s3(running_slurm: SlurmCluster) -> S3Server:
    """The cluster's own S3 server, for the fixture `s3`."""
    return running_slurm.s3


@pytest.fixture
def slurm(running_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """A SLURM with no jobs, which `sbatch` and the others find by the test's environment."""
    # A test before this one may have left a daemon dead, or jobs on the nodes
    running_slurm.start()
    running_slurm.cancel_all()
    for name, value in running_slurm.env.items():
        monkeypatch.setenv(name, value)
    return running_slurm


@pytest.fixture
def job_site(slurm: SlurmCluster, s3: S3Server, tmp_path: Path) -> JobSite:
    """A site of a test's own: a bucket, a folder for records, no data yet."""
    return JobSite(slurm, tmp_path, s3.bucket(), s3.settings)


@pytest.fixture(scope="session")
def table() -> Iterator[list[str]]:
    """Rows of what was observed; written at the end where somebody wants the file."""
    rows: list[str] = []
    yield rows
    if (path := os.environ.get("ABET_FAULT_TABLE")) and rows:
        head = ["fault", "ending", "exit codes of the starts", "steps repeated", "seconds until it ran again", "bits"]
        Path(path).write_text("\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows, ""]))
