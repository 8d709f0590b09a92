"""What a node learns of its job from SLURM's environment."""

import time
from collections.abc import Sequence
from datetime import datetime

import pytest

from jobs.cluster import FIRST_PORT, PORTS, Cluster, Run, asked, slurm_cluster

TWO_NODES = {
    "SLURM_JOB_ID": "41",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_NODEID": "1",
    "SLURMD_NODENAME": "n2",
}


def scontrol(command: Sequence[str]) -> str:
    """As SLURM 22.05 answers."""
    return {
        ("scontrol", "show", "hostnames", "n[1-2]"): "n1\nn2\n",
        (
            "scontrol",
            "-o",
            "show",
            "node",
            "n1",
        ): "NodeName=n1 Arch=x86_64 NodeAddr=10.0.0.7 NodeHostName=big",
    }[tuple(command)]


def never(command: Sequence[str]) -> str:
    raise AssertionError(command)


def test_outside_of_a_job_it_is_a_node_of_its_own() -> None:
    here = slurm_cluster({}, run=never)
    assert (here.job_id, here.node_rank, here.nodes, here.rendezvous) == ("local", 0, 1, "")
    assert not here.requeues


def test_one_node() -> None:
    environment = {"SLURM_JOB_ID": "41", "SLURM_NNODES": "1", "SLURM_RESTART_COUNT": "2", "SLURM_JOB_END_TIME": "1000"}
    here = slurm_cluster(environment | {"SLURMD_NODENAME": "n1"}, run=never)
    assert here == Cluster(job_id="41", node="n1", restarts=2, end_time=1000.0, requeues=True)


def test_two_nodes_meet_at_the_address_of_the_first() -> None:
    second = slurm_cluster(TWO_NODES, run=scontrol)
    first = slurm_cluster(TWO_NODES | {"SLURM_NODEID": "0"}, run=scontrol)
    assert (second.node_rank, second.nodes, second.node) == (1, 2, "n2")
    assert second.rendezvous == first.rendezvous == f"10.0.0.7:{FIRST_PORT + 41}"


def test_a_node_without_an_address_goes_by_its_name() -> None:
    here = slurm_cluster(TWO_NODES, run=lambda command: "n1\n" if "hostnames" in command else "NodeName=n1")
    assert here.rendezvous.startswith("n1:")


def test_tasks_of_an_array_have_their_own_names_and_ports() -> None:
    ports = set()
    for task in ("0", "1", "2"):
        array = {"SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": task, "SLURM_JOB_ID": str(50 + int(task))}
        here = slurm_cluster(TWO_NODES | array, run=scontrol)
        assert here.job_id == f"41_{task}"
        ports.add(here.rendezvous)
    assert len(ports) == 3


@pytest.mark.parametrize("job", ["1", "19999", "20000", "4294967295"])
def test_every_job_has_a_port_that_systems_do_not_hand_out(job: str) -> None:
    port = int(slurm_cluster(TWO_NODES | {"SLURM_JOB_ID": job}, run=scontrol).rendezvous.rpartition(":")[2])
    assert FIRST_PORT <= port < FIRST_PORT + PORTS <= 32768  # from there on Linux does


@pytest.mark.parametrize(("seconds_left", "expected"), [(30, True), (170, True), (190, False), (-5, True)])
def test_near_the_end_a_signal_means_the_time_limit(seconds_left: int, expected: bool) -> None:
    here = Cluster(job_id="1", node="n1", end_time=time.time() + seconds_left)
    assert here.at_time_limit(grace_seconds=120) is expected


def test_without_an_end_time_it_never_does() -> None:
    assert not slurm_cluster({"SLURM_JOB_ID": "1", "SLURM_JOB_END_TIME": ""}, run=never).at_time_limit(10**9)


def told(line: str) -> Run:
    def run(command: Sequence[str]) -> str:
        assert list(command) == ["scontrol", "-o", "show", "job", "7_3"]
        return line

    return run


HERE = Cluster(job_id="7_3", node="n1", requeues=True, end_time=1.0)


def test_the_controller_knows_the_limit_of_now_and_of_a_preemption() -> None:
    line = "JobId=9 EndTime=2026-01-02T03:04:05 Deadline=N/A PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime={} x"
    now = asked(HERE, run=told(line.format("None")))
    assert now.end_time == datetime(2026, 1, 2, 3, 4, 5).timestamp()
    assert not now.preempted
    assert asked(HERE, run=told(line.format("2026-01-02T03:00:00"))).preempted


def test_without_its_word_what_was_known_at_the_start_counts() -> None:
    def dead(command: Sequence[str]) -> str:
        raise FileNotFoundError("scontrol")

    assert asked(HERE, run=dead) == HERE
    assert asked(HERE, run=told("JobId=9 EndTime=Unknown PreemptTime=None")) == HERE
    assert asked(Cluster(job_id="7", node="n1"), run=dead) == Cluster(job_id="7", node="n1")
