"""A run in S3 as tests see it: how it is trained, what it ended in, and whether all of it is sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from abet.checkpoint import MANIFEST
from abet.places import S3Uri
from abet.remote import RemoteStep, fetch_files, read_remote_best, read_remote_manifest, remote_steps
from abet.run import step_name
from abet.storage import NotFound, Storage, open_storage
from abet.training.commit import fault_of
from abet.training.tracking import read_metrics
from abet.training.work_folder import step_in, work_root
from tests.s3_server import S3Server
from tests.training.conftest import Tiny, Zygote


@dataclass(frozen=True)
class Remote:
    """A place in S3, and a machine (a scratch) that trains into it."""

    server: S3Server
    zygote: Zygote
    tiny: Tiny
    place: S3Uri
    folder: Path
    """What this machine has of its own: site file, scratch, copies to look at."""
    patience_seconds: int = 60

    def uri(self, name: str) -> S3Uri:
        """Of a run."""
        return self.place / f"runs/{name}"

    def storage(self, name: str) -> Storage:
        """Of a run."""
        return open_storage(self.uri(name), self.server.settings)

    @property
    def scratch(self) -> Path:
        """This machine's."""
        return self.folder / "scratch"

    def site_file(self) -> Path:
        """What a user of this machine would write."""
        s3 = {**self.server.settings.model_dump(), "patience_seconds": self.patience_seconds}
        path = self.folder / "abet.site.yaml"
        path.write_text(yaml.safe_dump({"scratch": str(self.scratch), "s3": s3}))
        return path

    def work_folders(self, name: str) -> list[Path]:
        """What trainers left on this machine."""
        from abet.site import SiteConfig

        settings = self.server.settings.model_copy(update={"patience_seconds": self.patience_seconds})
        root = work_root(self.uri(name), SiteConfig(scratch=self.scratch, s3=settings))
        return sorted(root.iterdir()) if root.is_dir() else []

    def env(self) -> dict[str, str]:
        """Environment of a trainer."""
        return {**self.server.env, "ABET_SITE": str(self.site_file())}

    def begin(self, name: str, *more: object, env: dict[str, str] | None = None, **order: Any) -> None:
        """Start ``abet train`` into the run; `Zygote.end` waits for it."""
        tiny = self.tiny
        arguments = (tiny.recipe, "--data-root", tiny.data, "--output", self.uri(name), "--threads", 1, *more)
        self.zygote.begin(*arguments, env={**self.env(), **(env or {})}, **order)

    def train(self, name: str, *more: object, **order: Any) -> dict[str, Any]:
        """``abet train`` into the run, to its end."""
        self.begin(name, *more, **order)
        return self.zygote.end()

    def final_state(self, name: str) -> dict[str, Any]:
        """As `tests.training.conftest.final_state` of a run on a disk, from the newest committed step, verified."""
        storage, copy = self.storage(name), self.folder / "copies" / name
        newest = next(step for step in remote_steps(storage) if step.committed)
        assert self.fault(name, newest) is None
        _, manifest = read_remote_manifest(storage, newest.folder)
        digests = {entry.name: entry.sha256 for entry in manifest.files if entry.name.endswith(".safetensors")}
        storage.download("metrics.jsonl", copy / "metrics.jsonl")
        rows = [(row["step"], row["miou"]) for row in read_metrics(copy) if row["kind"] == "validation"]
        return {"step": step_name(newest.step), "best": read_remote_best(storage), "validations": rows, **digests}

    def fault(self, name: str, step: RemoteStep) -> str | None:
        """Why a resume could not use a committed step."""
        storage = self.storage(name)
        target = step_in(self.folder / "copies" / name, step.step)
        content, manifest = read_remote_manifest(storage, step.folder)
        fetch_files(storage, step.folder, manifest.files, target)
        (target / MANIFEST).write_bytes(content)
        return fault_of(target)

    def require_sound(self, name: str) -> None:
        """Every manifest vouches for what is there, the best and the latest step are there, nothing is half there."""
        storage = self.storage(name)
        steps = remote_steps(storage)
        assert [step.folder for step in steps if not step.committed] == []
        assert [fault for step in steps if (fault := self.fault(name, step))] == []
        best = read_remote_best(storage)
        assert best is None or best.step in {step.step for step in steps}
        assert f'"step": {steps[0].step},'.encode() in storage.read("checkpoints/latest.json")[0]

    def exists(self, name: str, file: str) -> bool:
        """Whether the run holds a file."""
        try:
            self.storage(name).read(file)
        except NotFound:
            return False
        return True
