"""What a copier takes along of the files that others write meanwhile."""

from pathlib import Path

from abet.storage import open_storage
from abet.training.copying import Copier
from abet.training.ownership import RemoteOwnership


def test_files_that_are_not_complete_or_vanish_between_two_looks_end_no_run(tmp_path: Path) -> None:
    run, storage = tmp_path / "run", open_storage(tmp_path / "kept")
    pictures = run / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "step-00000006.png").write_bytes(b"png")
    # As a file that is listed, and gone when it is looked at
    (pictures / ".step-00000008.0123456789abcdef.partial.png").symlink_to("nothing")
    (pictures / "step-00000009.png").symlink_to("nothing")
    copier = Copier(
        ownership=RemoteOwnership.take(storage),
        run=run,
        keep_last=1,
        versions={},
        there={6: "checkpoints/step-00000006-g0001"},
    )
    copier.copy(6)
    assert [entry.name for entry in storage.list("pictures/")] == ["pictures/step-00000006.png"]
