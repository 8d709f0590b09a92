"""`abet doctor --image`: what an image must be, found out inside of it."""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from abet.doctor import image
from abet.doctor.image import examine_image
from tests.conftest import Cli


def found(name: str) -> image.Check:
    return next(check for check in examine_image() if check.name == name)


def test_everything_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("imports").state == "ok"

    def broken(name: str) -> None:
        if name == "torch":
            raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(image, "import_module", broken)
    check = found("imports")
    assert check.state == "problem"
    assert "torch (OSError: libcudart.so.13: cannot open" in check.found


@pytest.mark.parametrize(("uid", "state"), [(0, "problem"), (10001, "ok"), (1000660000, "ok")])
def test_root_is_a_problem(uid: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: uid)
    assert found("user").state == state


def test_nowhere_to_write_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert found("temporary files").state == "ok"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    check = found("temporary files")
    assert check.state == "problem"
    assert "emptyDir" in check.fix


def test_what_builds_kernels_is_named_or_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler, headers = tmp_path / "cc", tmp_path / "Python.h"
    compiler.touch(mode=0o755)
    headers.touch()
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    assert found("compiler").found == f"{compiler} and {compiler}, {headers}"
    headers.unlink()
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=os.ST_NOEXEC))
    check = found("compiler")
    assert check.state == "not set"
    assert f"no no-such-compiler, no {headers}, {tempfile.gettempdir()} is mounted noexec: the head runs" in check.found


def test_no_site_file_is_looked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 10001)
    monkeypatch.setenv("ABET_SITE", "absent.yaml")
    finished = cli("doctor", "--image")
    assert "site file" not in finished.out
    assert finished.code == 0, finished.out
