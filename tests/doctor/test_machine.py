"""What the doctor says of GPUs, drivers and the torch that shall use them."""

import pytest

from abet.doctor.machine import Gpu, judge_gpus, list_gpus

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
