"""abet sync SRC DST"""

from pathlib import Path

from abet.storage import LocalStorage
from tests.conftest import Cli
from tests.s3_server import S3Server
from tests.sync.trees import TREE, contents


def test_the_command_lists_then_copies_then_has_nothing_to_do(source: LocalStorage, tmp_path: Path, cli: Cli):
    target = tmp_path / "target"
    dry = cli("sync", source.place, target, "--dry-run")
    assert dry.out == "".join(f"copy  {name}\n" for name in sorted(TREE))
    assert "5 files would be copied (0.1 MB), 0 kept, 0 would be deleted" in dry.err
    assert not target.exists()
    assert "5 files copied (0.1 MB), 0 kept, 0 deleted" in cli("sync", source.place, target).err
    (source.place / "a").unlink()
    assert cli("sync", source.place, target, "--delete", "--dry-run").out == "delete  a\n"
    assert "0 files copied (0.0 MB), 4 kept, 1 deleted" in cli("sync", source.place, target, "--delete").err
    assert contents(LocalStorage(target)) == contents(source)


def test_the_command_reaches_s3_as_the_site_file_says(source: LocalStorage, s3: S3Server, cli: Cli):
    Path("abet.site.yaml").write_text(f"s3: {{endpoint: '{s3.endpoint}'}}\n")
    uri = str(s3.place("data"))
    assert cli("sync", source.place, uri).code == 0
    assert cli("sync", uri, "back").code == 0
    assert contents(LocalStorage(Path("back"))) == TREE
    assert cli("sync", source.place, "s3://wrong-bucket/data").code == 2


def test_the_command_refuses_what_is_no_place(cli: Cli):
    result = cli("sync", "gs://bucket/x", "y")
    assert result.code == 2
    assert "expected a path on this machine or s3://bucket/prefix" in result.err
