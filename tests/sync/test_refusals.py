"""What a sync refuses, before anything is written."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from abet.errors import DataError, UsageError
from abet.files import temporary_beside
from abet.places import S3Uri
from abet.site import S3Settings
from abet.storage import LocalStorage, Storage, open_storage
from abet.sync import sync
from abet.sync.manifest import MANIFEST
from tests.s3_server import S3Server
from tests.sync.trees import TREE, contents, write


class Lister(BaseHTTPRequestHandler):
    """A server whose bucket holds the keys that its `keys` says, as no decent server would."""

    keys: tuple[str, ...] = ()

    def do_GET(self) -> None:
        if "list-type" in self.path:
            items = "".join(f'<Contents><Key>{key}</Key><Size>1</Size><ETag>"1"</ETag></Contents>' for key in self.keys)
            body = f"<ListBucketResult>{items}</ListBucketResult>".encode()
        else:
            body = b"x"
        self.send_response(404 if MANIFEST in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Settings]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Lister) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()  # how soon it hears of its end
        yield S3Settings(endpoint=f"http://127.0.0.1:{server.server_address[1]}", patience_seconds=1)
        server.shutdown()


@pytest.mark.parametrize(
    "key", ["run/../x", "run//x", "run/a/../../../x", "run/a/./b", "run/a\\b", "run/a/", "run/\u0085"]
)
def test_keys_that_leave_the_root_are_refused_before_anything_is_written(
    hostile: S3Settings, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Lister, "keys", ("run/good", key))
    with pytest.raises(DataError, match="the name '") as refused:
        sync(open_storage(S3Uri("bucket", "run"), hostile), LocalStorage(tmp_path / "target"))
    assert refused.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keys", [("a", "a/b"), ("x/y/z", "x/y"), ("x", "x/y/z")])
def test_a_name_that_is_file_and_folder_is_refused_before_anything_is_written(
    hostile: S3Settings, tmp_path: Path, keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Lister, "keys", tuple(f"run/{key}" for key in ("0", *keys)))
    with pytest.raises(DataError, match="is a file in one place and a folder in the other"):
        sync(open_storage(S3Uri("bucket", "run"), hostile), LocalStorage(tmp_path / "target"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("one", "two"), [("a", "a/b"), ("a/b", "a")])
def test_a_file_where_the_target_has_a_folder_is_refused(tmp_path: Path, one: str, two: str):
    write(tmp_path / "source", {one: b"", "0": b""})
    write(tmp_path / "target", {two: b""})
    with pytest.raises(DataError, match="is a file in one place and a folder in the other"):
        sync(LocalStorage(tmp_path / "source"), LocalStorage(tmp_path / "target"))
    assert not (tmp_path / "target" / "0").exists()


LONGEST = "ü" * 110 + "b" * 5 + ".png"  # 229 bytes


@pytest.mark.parametrize("name", [LONGEST, f"{LONGEST}/{LONGEST}"])
def test_names_as_long_as_a_disk_takes_are_copied(source: LocalStorage, s3: S3Server, tmp_path: Path, name: str):
    remote = open_storage(s3.place("run"), s3.settings)
    write(source.place, {name: b"long"})
    for start, end in (
        (source, LocalStorage(tmp_path / "beside")),
        (source, remote),
        (remote, LocalStorage(tmp_path / "back")),
    ):
        sync(start, end)
        assert contents(end) == contents(source)


def test_a_name_too_long_for_a_disk_is_refused_before_anything_is_written(
    hostile: S3Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Lister, "keys", ("run/a", f"run/b{LONGEST}"))
    with pytest.raises(DataError, match="a name of more than 229 bytes"):
        sync(open_storage(S3Uri("bucket", "run"), hostile), LocalStorage(tmp_path / "target"))
    assert list(tmp_path.iterdir()) == []


def test_links_that_leave_the_source_and_links_to_nothing_are_refused(source: LocalStorage, target: Storage):
    for link in ("../elsewhere", "nothing"):
        (source.place / "link").symlink_to(link)
        (source.place.parent / "elsewhere").mkdir(exist_ok=True)
        with pytest.raises(DataError, match="'link' is"):
            sync(source, target)
        (source.place / "link").unlink()
    assert target.list() == []


def test_half_written_files_are_left_out(source: LocalStorage, target: Storage):
    temporary_beside(source.place / "b" / "e.npz").write_bytes(b"half")
    sync(source, target)
    assert contents(target) == TREE


def test_an_empty_source_is_refused(target: Storage, tmp_path: Path):
    sync_from = LocalStorage(tmp_path / "mistyped")
    target.write("precious", b"", expect=None)
    with pytest.raises(UsageError, match="holds no file"):
        sync(sync_from, target, delete=True)
    assert contents(target) == {"precious": b""}


@pytest.mark.parametrize(("one", "two"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a", "link/b")])
def test_a_place_within_the_other_is_refused(tmp_path: Path, one: str, two: str):
    write(tmp_path, {"a/b/c": b""})
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(UsageError, match="the same place, or one lies in the other"):
        sync(LocalStorage(tmp_path / one), LocalStorage(tmp_path / two))
    remote = S3Settings(endpoint="http://127.0.0.1:1")
    if "link" not in two:
        with pytest.raises(UsageError, match="the same place, or one lies in the other"):
            sync(open_storage(S3Uri("bucket", one), remote), open_storage(S3Uri("bucket", two), remote))


def test_too_small_a_disk_is_refused_before_anything_is_written(tmp_path: Path):
    write(tmp_path / "source", {"a": b"1"})
    with (tmp_path / "source" / "sparse").open("wb") as file:
        file.truncate(8 * 10**12)
    with pytest.raises(UsageError, match=r"target: 8000.0 GB are to be copied there, [0-9.]+ GB are free; free some"):
        sync(LocalStorage(tmp_path / "source"), LocalStorage(tmp_path / "target"))
    assert not (tmp_path / "target").exists()
