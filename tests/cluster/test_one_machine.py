"""The cluster on one machine does what real ones do, as far as abet relies on it."""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3_server import SCRIPTS, S3Server
from tests.slurm_cluster import SlurmCluster, until

pytestmark = pytest.mark.cluster


def test_two_nodes_of_eight_gpus_wait_for_jobs(slurm: SlurmCluster):
    table = slurm.run("sinfo", "--noheader", "--Node", "--partition=debug", "--format=%N %t %G %P")
    assert table.split("\n") == ["n1 idle gpu:8 debug*", "n2 idle gpu:8 debug*", ""]


def test_a_job_sees_its_gpus_alone_and_is_accounted_for(slurm: SlurmCluster, tmp_path: Path):
    job = slurm.submit("echo $CUDA_VISIBLE_DEVICES", "--gres=gpu:2", f"--output={tmp_path}/out")
    assert slurm.wait(job) == {job: "COMPLETED"}
    assert (tmp_path / "out").read_text() == "0,1\n"


def test_more_gpus_than_a_node_has_are_refused(slurm: SlurmCluster):
    with pytest.raises(RuntimeError, match="Requested node configuration is not available"):
        slurm.submit("true", "--nodes=1", "--gres=gpu:9")


def test_a_step_spans_both_nodes(slurm: SlurmCluster):
    names = slurm.run("srun", "--nodes=2", "--ntasks-per-node=1", "--gres=gpu:8", "printenv", "SLURMD_NODENAME")
    assert sorted(names.split()) == ["n1", "n2"]


def test_a_job_finds_the_cluster_whatever_its_environment(slurm: SlurmCluster):
    job = slurm.submit("scontrol ping", "--export=NONE", "--output=/dev/null")
    assert slurm.wait(job) == {job: "COMPLETED"}


def test_a_job_after_an_array_runs_when_all_of_it_succeeded(slurm: SlurmCluster, tmp_path: Path):
    array = slurm.submit("echo $SLURM_ARRAY_TASK_ID", "--array=0-3", f"--output={tmp_path}/%a")
    after = slurm.submit(f"cat {tmp_path}/?", f"--dependency=afterok:{array}", f"--output={tmp_path}/merged")
    assert slurm.wait(after) == {after: "COMPLETED"}
    assert (tmp_path / "merged").read_text() == "0\n1\n2\n3\n"
    assert slurm.wait(array, tasks=4) == {f"{array}_{task}": "COMPLETED" for task in range(4)}


def test_a_job_after_a_failure_does_not_run(slurm: SlurmCluster):
    failing = slurm.submit("exit 3", "--output=/dev/null")
    after = slurm.submit("true", f"--dependency=afterok:{failing}", "--kill-on-invalid-dep=yes", "--output=/dev/null")
    assert slurm.wait(failing) == {failing: "FAILED"}
    assert slurm.wait(after)[after].startswith("CANCELLED")


def test_a_cancelled_job_has_time_to_save(slurm: SlurmCluster, tmp_path: Path):
    commands = f"trap 'sleep 2; echo saved >{tmp_path}/saved; exit' TERM; echo >{tmp_path}/ready; sleep 600 & wait"
    job = slurm.submit(commands, "--output=/dev/null")
    until((tmp_path / "ready").exists, "the job runs", seconds=20)
    slurm.run("scancel", "--full", "--signal=TERM", job)
    until((tmp_path / "saved").exists, "it saves", seconds=20)


PREEMPTED = """
trap 'echo USR2 $SLURM_RESTART_COUNT >>log; scontrol requeue $SLURM_JOB_ID; sleep 60' USR2
echo start ${SLURM_RESTART_COUNT:-0} >>log
[ "${SLURM_RESTART_COUNT:-0}" = 1 ] || { sleep 600 & wait; }
"""


def test_a_job_of_the_higher_partition_takes_the_nodes_after_a_signal(slurm: SlurmCluster, tmp_path: Path):
    log = tmp_path / "log"
    low = slurm.submit(
        PREEMPTED, "--nodes=2", "--gres=gpu:8", "--signal=B:USR2@60", f"--chdir={tmp_path}", "--output=/dev/null"
    )
    until(log.exists, "the first job runs", seconds=20)
    high = slurm.submit("true", "--partition=high", "--nodes=2", "--gres=gpu:8", "--output=/dev/null")
    assert slurm.wait(high) == {high: "COMPLETED"}
    assert slurm.wait(low) == {low: "COMPLETED"}
    assert log.read_text().splitlines() == ["start 0", "USR2", "start 1"]
    assert slurm.job(low)["Restarts"] == "1"


def in_environment_of(cluster: SlurmCluster, code: str) -> str:
    """What Python prints in a shell where the file ``env`` was sourced, and nothing else of this machine's AWS."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SLURM_"))}
    shell = f'. "{cluster.root}/env" && exec "{sys.executable}" -c "$CODE"'
    done = subprocess.run(
        ["bash", "-c", shell], env=clean | {"CODE": textwrap.dedent(code)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_file_to_source_is_all_that_a_user_needs(slurm: SlurmCluster):
    code = f"""
    import boto3, subprocess
    subprocess.run(["sinfo"], check=True, capture_output=True)
    store = boto3.client("s3", endpoint_url="{slurm.s3.endpoint}", region_name="us-east-1")
    store.put_object(Bucket="abet", Key="k", Body=b"from outside")
    print(store.get_object(Bucket="abet", Key="k")["Body"].read().decode())
    """
    assert in_environment_of(slurm, code) == "from outside\n"


def client(s3: S3Server) -> Any:
    """A client with the keys that the environment holds."""
    import boto3

    return boto3.Session().client("s3", endpoint_url=s3.endpoint, region_name="us-east-1")


def test_its_store_holds_conditions_and_refuses_readonly_keys(s3: S3Server, monkeypatch: pytest.MonkeyPatch):
    client(s3).put_object(Bucket="abet", Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client(s3).put_object(Bucket="abet", Key="once", Body=b"2", IfNoneMatch="*")
    for name, value in s3.readonly_env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClientError, match="AccessDenied"):
        client(s3).put_object(Bucket="abet", Key="once", Body=b"3")


def test_starting_again_changes_nothing(slurm: SlurmCluster):
    def daemons() -> dict[str, str]:
        return {
            file.name: file.read_text() for file in slurm.root.glob("*/**/*pid") if file.parent.name in ("run", "s3")
        }

    before = daemons()
    slurm.start()
    assert daemons() == before
    assert len(before) == 7


def test_accounts_and_objects_outlive_a_stop(slurm: SlurmCluster, s3: S3Server):
    job = slurm.submit("true", "--output=/dev/null")
    slurm.wait(job)
    client(s3).put_object(Bucket="abet", Key="kept", Body=b"1")
    running = slurm.submit("sleep 600", "--output=/dev/null")
    slurm.stop()
    slurm.start()
    assert slurm.accounted(job) == {job: "COMPLETED"}
    assert slurm.wait(running)[running].startswith("CANCELLED")
    assert client(s3).get_object(Bucket="abet", Key="kept")["Body"].read() == b"1"


def test_whoever_is_not_root_is_told():
    nobody = 65534
    with tempfile.TemporaryDirectory() as readable:  # the checkout may be closed to others
        scripts = shutil.copytree(SCRIPTS, Path(readable) / "scripts")
        Path(readable).chmod(0o755)
        done = subprocess.run(
            ["setpriv", f"--reuid={nobody}", "--clear-groups", "bash", scripts / "slurm-up.sh"],
            env={"PATH": os.environ["PATH"]},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "need root" in done.stderr
