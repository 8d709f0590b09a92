"""``abet init`` and ``abet doctor`` as a user meets them."""

import io
import json
from pathlib import Path

import pytest
import yaml

from abet.doctor.check import Check
from tests.conftest import Cli, Finished
from tests.s3_server import S3Server
from tests.trees import make_road_anomaly

SITE = Path("abet.site.yaml")


def site() -> dict[str, object]:
    found = yaml.safe_load(SITE.read_text())
    assert isinstance(found, dict)
    return found


@pytest.fixture
def answer(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    """``answer("a", "b")`` runs ``abet init`` and types these lines, then Enter for whatever is asked further."""

    def run(*lines: str, more: tuple[str, ...] = (), end: str = "\n" * 40) -> Finished:
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n" * bool(lines) + end))
        return cli("init", *more)

    return run


# --- init


def test_the_defaults_and_the_values_given_make_a_file_without_a_question(cli: Cli) -> None:
    finished = cli("init", "--yes", "--set", "artifacts=s3://models/abet", "--set", "profile=gpu")
    assert finished.code == 0, finished.err
    assert site()["artifacts"] == "s3://models/abet"
    assert site()["profile"] == "gpu"
    assert "next: abet doctor" in finished.err


def test_every_value_is_asked_for_and_enter_takes_the_default(answer) -> None:
    finished = answer("", "/data/ra")
    assert finished.code == 0, finished.err
    assert site()["data"] == {"road_anomaly": "/data/ra"}
    assert site()["artifacts"] == "runs"
    for word in ("data.cityscapes", "scratch", "s3.endpoint", "profile [default]"):
        assert word in finished.err
    assert "/data/ra is not there" in finished.err
    for word in ("secret", "password", "access key"):
        assert word not in finished.err.lower()


def test_a_wrong_answer_is_explained_and_asked_again_without_losing_the_others(answer) -> None:
    finished = answer("/laf", "gs://sets/ra", "s3://sets/ra")
    assert finished.code == 0, finished.err
    assert "no: " in finished.err
    assert site()["data"] == {"lost_and_found": "/laf", "road_anomaly": "s3://sets/ra"}


def test_an_existing_file_is_kept_unless_forced_and_then_its_values_are_the_defaults(cli: Cli, answer) -> None:
    assert cli("init", "--yes", "--set", "image=mine", "--set", "data.mapillary=/m").code == 0
    before = SITE.read_bytes()
    refused = cli("init", "--yes", "--set", "image=other")
    assert refused.code == 2
    assert "exists already" in refused.err
    assert SITE.read_bytes() == before
    assert answer(more=("--force",)).code == 0
    assert SITE.read_bytes() == before
    assert cli("init", "--yes", "--force", "--set", "image=").code == 0
    assert "image" not in site()
    assert site()["data"] == {"mapillary": "/m"}


def test_all_wrong_values_are_named_together_and_nothing_is_written(cli: Cli) -> None:
    finished = cli("init", "--yes", "--set", "artifacts=gs://x", "--set", "s3.checksums=never")
    assert finished.code == 2
    assert "gs://x" in finished.err
    assert "when_required" in finished.err
    assert not SITE.exists()


def test_without_answers_nothing_is_written(answer) -> None:
    finished = answer("/laf", end="")
    assert finished.code == 2
    assert "--yes" in finished.err
    assert not SITE.exists()


def test_the_file_that_commands_read_is_the_one_that_is_written(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABET_SITE", str(tmp_path / "mine.yaml"))
    assert cli("init", "--yes").code == 0
    assert (tmp_path / "mine.yaml").is_file()
    assert not SITE.exists()


# --- doctor


def doctor(cli: Cli) -> tuple[int, dict[str, dict[str, str]]]:
    finished = cli("doctor", "--json")
    report = json.loads(finished.out)
    assert report["problems"] == sum(check["state"] == "problem" for check in report["checks"])
    assert finished.code == (3 if report["problems"] else 0)
    return finished.code, {check["name"]: check for check in report["checks"]}


@pytest.fixture(autouse=True)
def _no_scheduler(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A PATH without SLURM: whether it runs on the machine of the tests is not what they ask."""
    if "s3" in request.fixturenames:
        request.getfixturevalue("s3")  # its scripts need the whole one
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("path")))


@pytest.fixture
def _profiles_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what else is looked at: asking the jobs starts an interpreter."""

    def answer(_profile: str, _checkout: Path, _fix: str, *_options: str, name: str = "profile") -> Check:
        return Check.ok(name, "not asked")

    monkeypatch.setattr("abet.doctor.machine._asked_of_jobs", answer)


def test_a_fresh_machine_has_no_problem_and_everything_unset_says_what_to_do(cli: Cli) -> None:
    finished = cli("doctor")
    lines = finished.out.splitlines()
    assert all(line.startswith(("ok ", "not set ")) for line in lines), finished.out
    assert finished.code == 0
    site_file = next(line for line in lines if "site file" in line)
    assert "abet init" in site_file


@pytest.mark.usefixtures("_profiles_not_asked")
def test_each_data_root_is_looked_into(cli: Cli, tmp_path: Path) -> None:
    make_road_anomaly(tmp_path / "ra", count=2)
    (tmp_path / "laf").mkdir()
    roots = {"road_anomaly": "ra", "lost_and_found": "laf", "cityscapes": "absent"}
    SITE.write_text(yaml.safe_dump({"data": {name: str(tmp_path / root) for name, root in roots.items()}}))
    code, checks = doctor(cli)
    assert code == 3
    assert checks["data.road_anomaly"]["state"] == "ok"
    assert "2 images" in checks["data.road_anomaly"]["found"]
    assert checks["data.lost_and_found"]["state"] == "problem"
    assert "is empty" in checks["data.lost_and_found"]["found"]
    assert checks["data.cityscapes"]["state"] == "problem"
    assert checks["data.mapillary"]["state"] == "not set"
    assert all(check["fix"] for check in checks.values() if check["state"] == "problem")


def test_a_site_file_that_cannot_be_read_is_a_problem_and_no_traceback(cli: Cli) -> None:
    SITE.write_text("wieghts: x\n")
    code, checks = doctor(cli)
    assert code == 3
    assert "did you mean 'weights'" in checks["site file"]["found"]
    assert checks["python"]["state"] == "ok"
    assert "artifacts" not in checks


def test_folders_that_cannot_be_made_and_a_profile_that_is_not_there_are_problems(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    SITE.write_text(
        yaml.safe_dump({name: str(tmp_path / "file" / "x") for name in ("artifacts", "jobs", "scratch")})
        + "profile: nonesuch\n"
    )
    _, checks = doctor(cli)
    for name in ("artifacts", "jobs", "scratch", "profile"):
        assert checks[name]["state"] == "problem", checks[name]
        assert "site file" in checks[name]["fix"]
    assert "default" in checks["profile"]["fix"]


def test_looking_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    SITE.write_text(yaml.safe_dump({name: str(tmp_path / name) for name in ("artifacts", "jobs", "scratch")}))
    cli("doctor")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "artifacts").mkdir()
    cli("doctor")
    assert [path.name for path in tmp_path.rglob("*")] == ["artifacts"]


@pytest.mark.usefixtures("_profiles_not_asked")
def test_half_a_scheduler_is_a_problem_and_a_whole_one_is_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    assert doctor(cli)[1]["scheduler"]["state"] == "problem"
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho 'gpu* up'\necho 'cpu up'\n")
    (tmp_path / "sinfo").chmod(0o755)
    scheduler = doctor(cli)[1]["scheduler"]
    assert (scheduler["state"], scheduler["found"]) == ("ok", "SLURM, partitions: cpu, gpu*")
    (tmp_path / "sinfo").write_text("#!/bin/sh\nexit 1\n")
    assert "slurmctld" in doctor(cli)[1]["scheduler"]["fix"]


def write_s3_site(s3: S3Server, **values: object) -> None:
    settings = {"endpoint": s3.endpoint, "region": "us-east-1"}
    SITE.write_text(yaml.safe_dump({**values, "s3": settings}))


@pytest.mark.usefixtures("_profiles_not_asked")
def test_a_bucket_is_listed_written_and_left_as_it_was(cli: Cli, s3: S3Server) -> None:
    from abet.places import S3Uri
    from abet.storage import open_storage

    bucket = s3.bucket()
    storage = open_storage(S3Uri(bucket), s3.settings)
    storage.write("sets/ra/a.png", b"12345", expect=None)
    write_s3_site(
        s3,
        artifacts=f"s3://{bucket}/models",
        data={"road_anomaly": f"s3://{bucket}/sets/ra", "cityscapes": f"s3://{bucket}/sets/empty"},
    )
    code, checks = doctor(cli)
    assert checks["artifacts"]["state"] == checks["s3 conditional writes"]["state"] == "ok"
    assert checks["s3 credentials"]["found"].endswith("shared-credentials-file")
    assert "1 objects" in checks["data.road_anomaly"]["found"]
    assert checks["data.cityscapes"]["state"] == "problem"
    assert code == 3
    assert [entry.name for entry in storage.list()] == ["sets/ra/a.png"]


@pytest.mark.usefixtures("_profiles_not_asked")
def test_keys_that_may_only_read_and_a_bucket_that_is_not_there_are_problems(
    cli: Cli, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_s3_site(s3, artifacts="s3://no-such-bucket/models")
    assert "no bucket 'no-such-bucket'" in doctor(cli)[1]["artifacts"]["found"]
    bucket = s3.bucket()
    write_s3_site(s3, artifacts=f"s3://{bucket}/models")
    for name, value in s3.readonly_env.items():
        monkeypatch.setenv(name, value)
    _, checks = doctor(cli)
    assert checks["artifacts"]["state"] == "problem"
    assert "s3:PutObject" in checks["artifacts"]["found"]


@pytest.mark.faults
def test_no_credentials_and_no_server_are_said_within_seconds(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    SITE.write_text("artifacts: s3://models/abet\ns3: {endpoint: 'http://127.0.0.1:9', patience_seconds: 1}\n")
    assert doctor(cli)[1]["s3 credentials"]["state"] == "problem"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "PLANTEDKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "PLANTEDSECRET")
    _, checks = doctor(cli)
    assert checks["s3 credentials"]["found"].endswith(": env")
    assert "no answer from http://127.0.0.1:9" in checks["artifacts"]["found"]
    assert "PLANTED" not in str(checks)
