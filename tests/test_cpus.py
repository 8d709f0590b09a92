"""CPUs: the machine's, a scheduler's share of them, or a container's."""

from pathlib import Path

import pytest

from abet import cpus


@pytest.mark.parametrize(
    ("quota", "found"), [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 8), (None, 8)]
)
def test_a_container_s_share_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, found: int
) -> None:
    monkeypatch.setattr(cpus, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert cpus.available_cpus() == found
