"""What pods do inside the image, started as Kubernetes would: read-only root, no capability, process 1, SIGTERM."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.image.conftest import Container
from tests.training.tiny import tiny_data, tiny_recipe
from tests.trees import make_road_anomaly

pytestmark = pytest.mark.image
POD = ("python", "-m", "jobs.pod")
GRACE_SECONDS = 60


def finished(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def training(container: Container, *, steps: int) -> tuple[object, ...]:
    tiny_data(container.folder / "data" / "cityscapes")
    checkpoints = {"steps": steps, "validate_every_steps": steps, "checkpoint_every_steps": steps}
    tiny_recipe(container.folder / "data" / "tiny.yaml", {"training": checkpoints})
    order = ("--name", "tiny", "--processes", 1, "--grace-seconds", GRACE_SECONDS, "--run", "/workspace/run", "--")
    words = ("--data-root", "/data/cityscapes", "--output", "/workspace/run", "--device", "cpu", "--threads", 1)
    return (*order, "train", "/data/tiny.yaml", *words)


@pytest.mark.parametrize("uid", [10001, 1000660000])
def test_it_is_whole_for_any_user(uid: int, container: Container) -> None:
    said = finished(container.run("doctor", "--image", uid=uid))
    print(said)
    assert f"{uid}:0, with or without a name" in said
    assert "the root folder is read-only" in said
    assert "full: abet 0.1.0" in said


def test_the_entrypoint_is_abet(container: Container) -> None:
    assert "Usage: abet" in finished(container.run("--help"))


def test_ten_steps_and_an_evaluation_of_them(container: Container) -> None:
    said = finished(container.run(*POD, *training(container, steps=10), entrypoint=False, uid=1000660000))
    print(said[-1500:])
    latest = json.loads((container.folder / "workspace" / "run" / "checkpoints" / "latest.json").read_text())
    assert latest["step"] == 10
    make_road_anomaly(container.folder / "data" / "road_anomaly", count=4)
    shards = ("--name", "evaluate", "--run", "/workspace/run", "--dataset", "road_anomaly", "--shards", "1,2/2")
    words = ("--dataset", "road_anomaly", "--data-root", "/data/road_anomaly", "--checkpoint", "/workspace/run")
    where = ("--output", "/workspace/run", "--shard", "{shard}/2", "--device", "cpu")
    order = (*POD, *shards, "--", "evaluate", *words, *where)
    for index in ("0", "1"):
        finished(container.run(*order, entrypoint=False, uid=1000660000, env={"JOB_COMPLETION_INDEX": index}))
    merge = ("--name", "merge", "--", "merge", "/workspace/run", "--dataset", "road_anomaly", "--wait-minutes", 1)
    finished(container.run(*POD, *merge, entrypoint=False, uid=1000660000))
    folder = container.folder / "workspace" / "run" / "evaluation" / "road_anomaly"
    assert json.loads((folder / "metrics.json").read_text())["images"] == 4


def first_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_sigterm_saves_and_ends_in_143_within_the_grace_period(container: Container) -> None:
    order = training(container, steps=100_000)
    log = container.folder / "log"
    with log.open("w") as file:
        command = container.command(*POD, *order, entrypoint=False)
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    start = time.monotonic()
    try:
        metrics = container.folder / "workspace" / "run" / "metrics.jsonl"
        while not (metrics.exists() and metrics.read_text().count("\n") >= 5):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() - start < 120, log.read_text()
            time.sleep(0.2)
        trained, asked = time.monotonic() - start, time.monotonic()
        os.kill(first_child(process.pid), signal.SIGTERM)  # process 1 of the container
        code = process.wait(GRACE_SECONDS)
    finally:
        process.kill()
    took = time.monotonic() - asked
    latest = json.loads((container.folder / "workspace" / "run" / "checkpoints" / "latest.json").read_text())
    ended = trained + took
    print(f"0.0 s start; {trained:.1f} s five steps done, SIGTERM; {ended:.1f} s exit code {code}, {latest} saved")
    assert code == 143, log.read_text()
    assert latest["step"] >= 5
    starts = json.loads((container.folder / "workspace" / "run" / "starts.json").read_text())["starts"]
    assert [each["code"] for each in starts] == [143]


def test_what_no_retry_can_change_ends_with_2_or_3(container: Container) -> None:
    need = ("--name", "x", "--need", "AWS_ACCESS_KEY_ID=secret/abet-s3", "--", "train", "demo_pretrain")
    said = finished(container.run(*POD, *need, entrypoint=False), 2)
    assert "kubectl create secret generic abet-s3" in said
    wrong = finished(container.run(*POD, "--name", "x", "--", "train", "demo_pretrian", entrypoint=False), 2)
    assert "did you mean 'demo_pretrain'" in wrong
    order = training(container, steps=10)
    for path in (container.folder / "data" / "cityscapes").rglob("*_gtFine_labelIds.png"):
        shutil.copy(next((container.folder / "data" / "cityscapes").rglob("*_leftImg8bit.png")), path)
    said = finished(container.run(*POD, *order, entrypoint=False), 3)
    assert "abet: error:" in said


def test_outside_of_tmp_and_mounts_nothing_can_be_written(container: Container) -> None:
    script = "cd /tmp && touch a /dev/shm/a /workspace/a && touch /opt/abet/a"
    done = container.run("sh", "-c", script, entrypoint=False)
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr
    assert done.stderr.count("cannot touch") == 1
    status = finished(container.run("grep", "-E", "^(CapEff|CapBnd|NoNewPrivs)", "/proc/self/status", entrypoint=False))
    assert set(status.split()) >= {"0000000000000000", "1"}
