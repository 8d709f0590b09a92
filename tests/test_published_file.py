"""Published files that are damaged, hostile, or claim more than they hold: refused, and nothing in them is run."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from abet import checkpoint
from abet.errors import CheckpointError
from abet.model_config import TemperatureModel
from abet.published import identify, read_published
from tests.conftest import random_weights, small_config

BASE = small_config()


def tensors(head: TemperatureModel) -> dict[str, torch.Tensor]:
    return dict(random_weights(head).tensors)


# --- damaged and hostile files


class Harm:
    """Unpickles into a call; the file that appears would prove that it was executed."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def hostile(tmp_path: Path) -> dict[str, Any]:
    trace = str(tmp_path / "executed")
    return {
        "os.system": Harm(os.system, f"touch {trace}"),
        "open": Harm(open, trace, "w"),
        "exec": Harm(exec, f"open({trace!r}, 'w')"),
        "numpy load": Harm(np.load, trace),
        "pickle.loads": Harm(pickle.loads, pickle.dumps(Harm(os.system, f"touch {trace}"))),
        "object scalar": Harm(np.array(0.0)[()].__reduce__()[0], np.dtype("O"), b"12345678"),
        "int64 scalar": np.int64(3),
        "float32 scalar": np.float32(3),
        "array": np.zeros(3),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", list(hostile(Path())))
def test_a_pickle_with_anything_else_inside_is_refused_unexecuted(tmp_path: Path, name: str, zipped: bool) -> None:
    content = {"state_dict": tensors("none"), "mean_iu": hostile(tmp_path)[name]}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="refused, nothing was executed") as caught:
        read_published(tmp_path / "evil.pth", base=BASE)
    assert not (tmp_path / "executed").exists()
    assert "weights_only=False" not in str(caught.value)


def test_a_plain_pickle_is_refused_unexecuted(tmp_path: Path) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Harm(os.system, f"touch {tmp_path / 'executed'}")))
    with pytest.raises(CheckpointError):
        read_published(tmp_path / "evil.pth", base=BASE)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("fraction", [0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(tmp_path: Path, fraction: float, zipped: bool) -> None:
    path = tmp_path / "ref.pth"
    torch.save(tensors("none"), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(CheckpointError, match=str(path)):
        read_published(path, base=BASE)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ref.pth").touch()
    with pytest.raises(CheckpointError, match="empty"):
        read_published(tmp_path / "ref.pth", base=BASE)


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file or folder; docs/weights\.md"):
        read_published(tmp_path / "absent.pth", base=BASE)


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {}}, torch.zeros(3), {"state_dict": {"a": "text"}}])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "ref.pth")
    with pytest.raises(CheckpointError, match=r"ref\.pth"):
        read_published(tmp_path / "ref.pth", base=BASE)


def test_two_names_for_one_tensor_are_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(1), "module.a.weight": torch.ones(1)}, tmp_path / "ref.pth")
    with pytest.raises(CheckpointError, match=r"two entries are called 'a\.weight'"):
        read_published(tmp_path / "ref.pth", base=BASE)


# --- files that claim more than they hold


def replaced(path: Path, **tensors_by_suffix: torch.Tensor) -> Path:
    """A learned-head file with the tensor ``h.h.weight`` (key ``classifier``) or others put in its place."""
    names = {"classifier": "h.h.weight", "temperature": "temperature.0.weight", "extra": "extra"}
    torch.save(tensors("learned") | {names[key]: value for key, value in tensors_by_suffix.items()}, path)
    return path


@pytest.mark.parametrize(
    ("classifier", "said"),
    [
        (torch.zeros(1, dtype=torch.half).expand(10**14), "stores too little"),
        (torch.zeros(1, 32, 1, 1).expand(10**13, 32, 1, 1), "stores too little"),
        (torch.zeros(19, 32, 1, 1, device="meta"), "on meta"),
        (torch.zeros(19, 32, 1, 1).to_sparse(), "sparse"),
        (torch.zeros(()), r"shape \(\); expected \(classes, features, 1, 1\)"),
        (torch.zeros(19, 32), "expected"),
        (torch.zeros(19, 32, 3, 3), "expected"),
        (torch.zeros(0, 32, 1, 1), "with 1 to 256 classes"),
        (torch.zeros(257, 32, 1, 1), "with 1 to 256 classes, which is what a uint8 class map holds"),
    ],
)
def test_a_classifier_that_cannot_be_meant_is_refused(tmp_path: Path, classifier: torch.Tensor, said: str) -> None:
    path = replaced(tmp_path / "ref.pth", classifier=classifier)
    for read in (lambda: read_published(path, base=BASE), lambda: identify(path)):
        with pytest.raises(CheckpointError, match=said):
            read()


def test_an_unused_tensor_is_never_enlarged(tmp_path: Path) -> None:
    path = replaced(tmp_path / "ref.pth", extra=torch.zeros(1, dtype=torch.half).expand(10**14))
    with pytest.raises(CheckpointError, match="'extra' claims the shape"):
        read_published(path, base=BASE)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"h.h.weight": torch.zeros(19, 10**5, 1, 1)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "bomb.pth", "w") as bomb:
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"unpacks to 7\d{6} bytes, more than its own size"):
        read_published(tmp_path / "bomb.pth", base=BASE)


def test_a_request_for_endless_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ref.pth"
    torch.save({"state_dict": tensors("none"), "x": Harm(bytearray, 10**17)}, path)
    with pytest.raises(CheckpointError, match="more memory than there is"):
        read_published(path, base=BASE)


def test_a_tensor_of_another_kind_is_named_with_both_types(tmp_path: Path) -> None:
    path = replaced(tmp_path / "ref.pth", temperature=torch.zeros(1, 32, 1, 1, dtype=torch.complex64))
    with pytest.raises(CheckpointError, match=r"temperature\.0\.weight torch\.complex64 instead of torch\.float32"):
        read_published(path, base=BASE)


def test_tied_and_transposed_tensors_are_saved_each_on_its_own(tmp_path: Path) -> None:
    state = tensors("learned")
    square = torch.arange(256.0 * 19).reshape(19, 256)[:, :32, None, None]
    norm = [name for name in state if name.endswith("running_mean")][:2]
    tied = torch.arange(float(state[norm[0]].numel()))
    torch.save(state | {"h.h.weight": square, norm[0]: tied, norm[1]: tied[: state[norm[1]].numel()]}, tmp_path / "r")

    weights, _ = read_published(tmp_path / "r", base=BASE)
    checkpoint.save(weights, tmp_path / "c")

    again = checkpoint.read(tmp_path / "c").tensors
    assert torch.equal(again["h.h.weight"], square)
    assert torch.equal(again[norm[0]], tied)
    assert torch.equal(again[norm[1]], tied[: state[norm[1]].numel()])


def test_names_in_messages_hold_no_terminal_commands(tmp_path: Path) -> None:
    name = "\x1b]0;owned\x07"
    for index, content in enumerate([{name: torch.zeros(1)}, {name: "text"}, {"h.h.weight": torch.zeros(1), name: {}}]):
        torch.save(content, tmp_path / f"{index}.pth")
        with pytest.raises(CheckpointError, match=r"\\x1b\]0;owned\\x07") as caught:
            read_published(tmp_path / f"{index}.pth", base=BASE)
        assert str(caught.value).isprintable()


# --- damage anywhere


def damaged(content: bytes, random: Random) -> bytes:
    """``content`` with one to three bytes changed, inserted or removed."""
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 3])):
        position = random.randrange(len(changed))
        length, inserted = random.choice([(1, 1), (1, 1), (1, 0), (0, 1)])
        changed[position : position + length] = random.randbytes(inserted)
    return bytes(changed)


def tiny(path: Path, *, zipped: bool) -> bytes:
    """A file whose bytes are nearly all pickle, with all that the published ones hold."""
    content = {"state_dict": {"module.h.h.weight": torch.zeros(2, 1, 1, 1)}, "mean_iu": np.float64(0.5), "epoch": 3}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path.read_bytes()


def repacked(path: Path, random: Random) -> bytes:
    """The archive with damage in its pickle and good checksums, so that the damage reaches the unpickler."""
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            target.writestr(entry.filename, damaged(content, random) if entry.filename.endswith(".pkl") else content)
    return packed.getvalue()


@pytest.mark.parametrize("kind", ["legacy", "archive", "pickle in archive"])
def test_any_damage_is_a_checkpoint_error_or_harmless(tmp_path: Path, kind: str) -> None:
    random = Random(5)
    intact = tiny(tmp_path / "intact.pth", zipped=kind != "legacy")
    refused = []
    for _ in range(150):
        content = repacked(tmp_path / "intact.pth", random) if "pickle" in kind else damaged(intact, random)
        (tmp_path / "damaged.pth").write_bytes(content)
        try:
            identify(tmp_path / "damaged.pth")
        except CheckpointError as error:
            refused.append(str(error))
    assert refused
    assert not any("weights_only=False" in message for message in refused)


def test_a_damaged_numpy_type_never_reaches_numpy(tmp_path: Path) -> None:
    # numpy's own dtype.__setstate__ crashes the process on a byte order that is followed by too few fields
    content = tiny(tmp_path / "ref.pth", zipped=False)
    assert content.count(b"NNNJ") == 1
    (tmp_path / "ref.pth").write_bytes(content.replace(b"NNNJ", b"MNNJ"))
    assert identify(tmp_path / "ref.pth")[1] == "model"
