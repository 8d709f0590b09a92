"""What the doctor says of GPUs, drivers and the torch that shall use them."""

from pathlib import Path

import pytest

from abet.doctor.check import Check
from abet.doctor.folders import check_folders
from abet.doctor.machine import Gpu, check_kubernetes, check_profile, judge_gpus, list_gpus
from abet.site import SiteConfig

H100, V100 = Gpu("NVIDIA H100", 580, 9.0), Gpu("Tesla V100-SXM2", 580, 7.0)


@pytest.mark.parametrize(
    ("gpus", "cuda", "usable", "state", "said"),
    [
        ([H100], "13.0", True, "ok", "torch for CUDA 13.0"),
        ([H100._replace(driver=550)], "12.6", True, "ok", "driver 550"),
        ([H100._replace(driver=550)], "13.0", False, "problem", "driver 580 or newer"),
        ([H100, V100], "13.2", True, "problem", "cu126"),
        ([V100], "12.6", True, "ok", "V100"),
        ([H100], None, False, "problem", "without CUDA"),
        ([H100], "12.6", False, "problem", "torch.cuda.init()"),
    ],
)
def test_driver_gpu_and_torch_must_fit(gpus: list[Gpu], cuda: str | None, usable: bool, state: str, said: str) -> None:
    check = judge_gpus(f"{gpus[0].name}, driver {gpus[0].driver}", gpus, cuda=cuda, usable=usable)
    assert check.state == state
    assert said in str(check)


def test_gpus_are_what_nvidia_smi_names(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list_gpus() == []
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 'NVIDIA H100, 580.65.06, 9.0'\necho 'Odd, [N/A], [N/A]'\n")
    command.chmod(0o755)
    assert list_gpus() == [H100]
    command.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert list_gpus() == []


# --- the profile


def test_the_checkout_says_how_its_profile_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_profile("default").state == "ok"
    mine = tmp_path / "mine.yaml"
    mine.write_text("partitoin: gpu\n")
    check = check_profile(str(mine))
    assert (check.state, "did you mean 'partition'" in check.found) == ("problem", True)
    assert "default" in check.fix


def test_a_python_that_jobs_would_miss_is_a_problem_where_there_is_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"python: {tmp_path}/absent\n")
    assert check_profile(str(mine)).state == "ok"
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    check = check_profile(str(mine))
    assert check.state == "problem"
    assert f"{tmp_path}/absent is no program here" in check.found


def test_without_a_checkout_the_file_is_read_and_no_more(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    assert check_profile("gpu", tmp_path).state == "not set"
    assert check_profile(str(mine), tmp_path).state == "problem"
    mine.write_text("a: [\n")
    assert check_profile(str(mine), tmp_path).state == "problem"
    mine.write_text("partition: gpu\n")
    check = check_profile(str(mine), tmp_path)
    assert (check.state, "not checked" in check.found) == ("ok", True)


def test_an_image_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    def image(name: str) -> Check:
        site = SiteConfig(image=name, artifacts=tmp_path, jobs=tmp_path, scratch=tmp_path)
        return next(check for check in check_folders(site) if check.name == "image")

    path = tmp_path / "abet.sif"
    assert image(str(path)).state == "problem"
    path.touch()
    assert image(str(path)).state == "ok"
    assert image("registry.example.org/abet:1.0").state == "ok"


def test_the_kubernetes_profile_is_looked_at_too(tmp_path: Path) -> None:
    site = SiteConfig(image="registry.example.org/abet:1")
    assert check_kubernetes(site).state == "ok"
    without = check_kubernetes(SiteConfig())
    assert (without.state, "make push" in without.fix) == ("not set", True)
    mine = tmp_path / "mine.yaml"
    mine.write_text("namespce: x\n")
    check = check_kubernetes(site.model_copy(update={"kubernetes": str(mine)}))
    assert (check.name, check.state, "did you mean 'namespace'" in check.found) == ("kubernetes", "problem", True)
    assert check_kubernetes(site, tmp_path).state == "not set"
