"""Paths that a user may mistype or that cannot be written: refused before any work, in words, and nothing is made."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abet.cli.options import require_output, split_names
from abet.errors import UsageError
from tests.conftest import Cli, Finished
from tests.report.fake_runs import make_run
from tests.small_disk import abet_with_small_disk


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """A photograph whose outputs are larger than a few kilobytes."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "street.png")
    return tmp_path / "street.png"


def refused(finished: Finished, code: int, *said: str) -> None:
    assert finished.code == code, finished.err
    assert "Traceback" not in finished.err
    for part in said:
        assert part in finished.err


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


# --- the rule


def a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file"


def a_folder(folder: Path) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


def a_link_to_nothing(folder: Path) -> Path:
    (folder / "link").symlink_to("nowhere")
    return folder / "link"


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (a_folder, "file", "is a folder"),
        (a_file, "folder", "is a file"),
        (a_link_to_nothing, "file", "link to nothing"),
        (a_link_to_nothing, "folder", "link to nothing"),
        (a_pipe, "file", "no ordinary file"),
        (lambda folder: a_file(folder) / "sub", "file", "file is not a folder"),
        (lambda folder: a_file(folder) / "sub" / "deeper", "folder", "file is not a folder"),
        (lambda folder: folder / ("n" * 300), "file", "longer than"),
        (lambda folder: folder / ("n" * 300) / "sub", "folder", "longer than"),
        (lambda folder: folder / ("ü" * 120), "file", "longer than"),  # bytes count, not letters
    ],
)
def test_an_output_that_cannot_be_written_is_named_with_the_rule(
    tmp_path: Path, make: Callable[[Path], Path], kind: str, said: str
) -> None:
    path = make(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=said) as caught:
        require_output(path, kind=kind)
    assert str(path) in str(caught.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_output_in_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    # the superuser, as whom containers run tests, may write everywhere: so the system's answer is replaced
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path) != tmp_path)
    with pytest.raises(UsageError, match=f"no permission to write in {tmp_path}"):
        require_output(tmp_path / "a" / "b", kind=kind)
    (tmp_path / "inner").mkdir()
    require_output(tmp_path / "inner" / "b", kind=kind)


def test_a_good_output_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path("r.html"), Path("a/b/r.html"), tmp_path / "c" / "r.html"):
        for kind in ("file", "folder"):
            require_output(path, kind=kind)
    assert tree(tmp_path) == []
    require_output(a_file(tmp_path), kind="file")
    require_output(a_folder(tmp_path), kind="folder")


# --- the commands


@pytest.mark.parametrize("output", ["file", "file/sub", "n" * 300])
def test_predict_refuses_its_output_before_the_checkpoint_is_read(
    cli: Cli, tmp_path: Path, street: Path, output: str
) -> None:
    (tmp_path / "file").touch()
    arguments = ("--checkpoint", tmp_path / "absent", "--input", street, "--output", tmp_path / output)
    refused(cli("predict", *arguments), 2, str(tmp_path / output))


@pytest.mark.parametrize("output", ["folder", "file/r.html", f"{'n' * 300}.html"])
def test_report_refuses_its_output_before_the_runs_are_read(cli: Cli, tmp_path: Path, output: str) -> None:
    a_file(tmp_path)
    a_folder(tmp_path)
    refused(cli("report", tmp_path / "absent", "--output", tmp_path / output), 2, str(tmp_path / output))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--matrix", "m.gif"), ".png or .pdf"),
        (("--matrix", "folder.png"), "is a folder"),
        (("--matrix", "m.png", "--output", "folder.png"), "is a folder"),
        (("--matrix", "m.png", "--device", "gpu"), "unknown device 'gpu'"),
        (("--matrix", "m.png", "--images", ""), "names no image"),
        (("--matrix", "m.png", "--scores", ","), "names no score"),
        (("--images", ""), "add --matrix"),
    ],
)
def test_report_refuses_what_the_matrix_cannot_be_before_the_runs_are_read(
    cli: Cli, more: tuple[str, ...], said: str
) -> None:
    Path("folder.png").mkdir()
    refused(cli("report", "absent", *more), 2, said)
    assert [path.name for path in Path().iterdir()] == ["folder.png"]


def test_a_recipe_that_is_a_folder_exits_2(cli: Cli) -> None:
    Path("m.yaml").mkdir()
    refused(cli("show-config", "m.yaml"), 2, "m.yaml: is a folder")


# --- lists of names


def test_names_come_from_the_option_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes("\ufeffa b.png\r\n\n ü.png \n".encode())  # as an editor of Windows saves it
    assert split_names(None) == ()
    assert split_names("a, b,,c") == ("a", "b", "c")
    assert split_names(f"@{tmp_path}/list") == ("a b.png", "ü.png")


def test_no_name_at_all_is_never_everything(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n \n")
    for text in ("", " ", ",", f"@{tmp_path}/empty"):
        with pytest.raises(UsageError, match="names no image") as caught:
            split_names(text)
        assert repr(text) in str(caught.value)


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x89PNG\xff")
    for name, said in (("binary", "UTF-8"), ("absent", "no such file"), ("", "folder"), ("n" * 300, "not readable")):
        with pytest.raises(UsageError, match=said) as caught:
            split_names(f"@{tmp_path}/{name}")
        assert f"@{tmp_path}/{name}" in str(caught.value)
    with pytest.raises(UsageError, match="no file named"):
        split_names("@")


def test_of_two_folders_the_option_of_the_missing_one_is_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no site file
    controls = ("controls", "--dataset", "road_anomaly", "--output", tmp_path / "run")
    refused(cli(*controls, "--data-root", tmp_path), 2, "no data root for 'cityscapes': give --train-root DIR,")
    missing = "no data root for 'road_anomaly': give --data-root DIR (make: DATA_ROOT=DIR),"
    refused(cli(*controls, "--train-root", tmp_path), 2, missing)


# --- what only the system knows


@pytest.mark.faults
def test_a_full_disk_leaves_no_half_written_prediction(learned_checkpoint: Path, street: Path, tmp_path: Path) -> None:
    arguments = ("--checkpoint", learned_checkpoint, "--input", street, "--output", tmp_path / "o", "--device", "cpu")
    refused(abet_with_small_disk(3_000, "predict", *arguments), 1, "no space left", "choose another --output")
    assert [path.name for path in tree(tmp_path / "o")] == ["predictions.json"]


def test_a_full_disk_leaves_no_half_written_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = tree(tmp_path)
    finished = abet_with_small_disk(3_000, "report", run, "--output", tmp_path / "r.html")
    refused(finished, 1, "no space left", "choose another --output")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EACCES, "get permission"),
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "free some space"),
        (errno.ENAMETOOLONG, "shorter name"),
    ],
)
def test_an_error_of_the_system_names_the_target_and_the_remedy(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    target = tmp_path / "r.v2.html"

    def fail(self: Path, *_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(self))  # as the system reports it: under the temporary name

    run = make_run(tmp_path / "run")
    monkeypatch.setattr(Path, "touch", fail)
    finished = cli("report", run, "--output", target)
    refused(finished, 1, f"({target})", said)
    assert "partial" not in finished.err


def test_an_interrupted_command_says_so_and_exits_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("abet.data.check.check", interrupt)
    finished = cli("data", "check", "road_anomaly", "x")
    refused(finished, 130, "abet: interrupted")


def test_what_ends_early_is_not_taken_for_an_abort(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*_: object, **__: object) -> None:
        raise EOFError("No data left in file")

    monkeypatch.setattr("abet.data.check.check", ended)
    with pytest.raises(RuntimeError, match="ends early: No data left in file"):
        cli("data", "check", "road_anomaly", "x")
