"""JobSpecs as YAML: what `jobs submit --on kubernetes` sends, and the committed files of k8s/.

ABET_SITE=k8s/site.example.yaml python -m jobs manifests
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from abet.errors import UsageError
from abet.places import S3Uri
from abet.site import FILE_NAME, SiteConfig
from jobs import catalogue
from jobs.catalogue import Request
from jobs.kubernetes.pods import Values
from jobs.kubernetes.profile import KubernetesProfile
from jobs.kubernetes.rules import require_sound
from jobs.kubernetes.site_map import pod_site, require_seen
from jobs.kubernetes.workloads import batch_job, config_map, pytorch_job, train_job
from jobs.spec import JobSpec

WAIT_SLACK_MINUTES: Final = 10
"""A merge waits so much longer than the evaluation may live."""


def documents(spec: JobSpec, site: SiteConfig, profile: KubernetesProfile, *, name: str | None = None) -> list[Values]:
    """The objects of one job, its ConfigMap first.

    Args:
        spec: the job.
        site: image and places.
        profile: the cluster's.
        name: what the objects are called; None: as the job.

    Raises:
        UsageError: paths that pods do not see, no image, or something that the cluster would refuse.
    """
    require_seen(spec, site, profile)
    name = name or spec.name
    made = [
        config_map(name, profile, {FILE_NAME: pod_site(site, profile)}),
        *_workload(spec, name, profile, site.image),
    ]
    require_sound(made)
    return made


def _workload(spec: JobSpec, name: str, profile: KubernetesProfile, image: str | None) -> list[Values]:
    if spec.kind == "train":
        make = train_job if profile.api == "trainjob" else pytorch_job
        return make(spec, name, profile, image)
    if spec.nodes > 1:
        raise UsageError(f"{spec.name}: {spec.nodes} nodes, and only training runs on several")
    waits = spec.kind == "merge"
    minutes = 60 * profile.deadline_hours + WAIT_SLACK_MINUTES if waits else 0
    return batch_job(spec, name, profile, image, wait_minutes=minutes)


def require_independent(specs: Sequence[JobSpec]) -> None:
    """Raises UsageError for jobs that wait for each other in a way that Kubernetes has no word for.

    A merge waits for its shards by itself.
    """
    waiting = {spec.kind for spec in specs if spec.after} - {"merge"}
    if waiting == {"components"}:
        raise UsageError(
            "the second pass needs what the merge finds, and Kubernetes knows no jobs that wait for each other: submit "
            "evaluate with --option=--protocols (make: EVAL_ARGS=--protocols), and components once the merge is done"
        )
    if waiting:
        raise UsageError(
            "a pipeline needs jobs that wait for each other, which Kubernetes does not know: submit one after the "
            "other, each once the one before is done: the pre-training recipe, the fine-tuning recipe with --snapshot, "
            "evaluate for each data set, report (docs/kubernetes.md)"
        )


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks; no aliases, which people do not read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def to_yaml(made: Sequence[Values]) -> str:
    """Several objects as one text."""
    return "---\n".join(
        yaml.dump(each, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True) for each in made
    )


# --- the committed files


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One committed file."""

    title: str
    notes: tuple[str, ...]
    spec: JobSpec
    profile: KubernetesProfile


UNCHANGED: Final = (
    "The same file again says `unchanged` and starts nothing: the name is taken, also by a job that has ended."
)
TRAIN_AGAIN: Final = (
    UNCHANGED,
    "To run it again: kubectl delete -f this file, then apply it; training goes on from its last checkpoint.",
)
EVALUATE_AGAIN: Final = (
    UNCHANGED,
    "To run it again: kubectl delete -f this file, then apply it; shards that are there are kept.",
)
FIT_FIRST: Final = (
    "The result lies beside the weights. Fit before you evaluate, and wait until it is done: shards that are evaluated",
    "with what was fitted and shards without it do not mix, and end with exit code 2.",
    "  kubectl wait --for=condition=Complete --timeout=6h job/fit-cityscapes",
)
PASS_AGAIN: Final = "A pass that is stopped begins anew: nothing of it is kept."
EXAMPLE: Final = "site.example.yaml"
OPERATORS: Final = {
    "pytorchjob": "the Kubeflow training operator 1.7 to 1.9",
    "trainjob": "Kubeflow Trainer 2.2 or newer",
}


def origin(source: str) -> tuple[str, ...]:
    """Where a file comes from; ``source`` is the name of the site file."""
    if source == EXAMPLE:
        return (
            "Rendered by `make manifests` from k8s/site.example.yaml. For your own site, with its image and bucket:",
            "  python -m jobs manifests --output DIR, or python -m jobs submit JOB --on kubernetes (ever a new name).",
        )
    return (f"Rendered by `python -m jobs manifests` from {source}: change that, and render it again.",)


def needs(manifest: "Manifest") -> str:
    """What must be there before it is applied."""
    profile = manifest.profile
    secret = [f"secret {profile.secret} with {', '.join(profile.keys)}"] if profile.secret else []
    claims = [f"claim {volume.claim}" for volume in profile.volumes]
    operator = [OPERATORS[profile.api]] if manifest.spec.kind == "train" else []
    return f"Needs: {'; '.join([*operator, 'the image', *secret, *claims])}. docs/kubernetes.md makes them."


def manifests(site: SiteConfig, profile: KubernetesProfile) -> Mapping[str, Manifest]:
    """File name -> what it holds; the jobs are those of `jobs.catalogue`.

    Raises:
        UsageError: the site's artifacts do not lie in S3 and on no claim, or a data set has no place.
    """
    trunk, pretrained = site.artifacts / "weights/imagenet-trunk", site.artifacts / "mapillary_pretrain"
    finetuned = site.artifacts / "cityscapes_finetune"
    pretrain = catalogue.training("mapillary_pretrain", Request(snapshot=trunk), site)
    finetune = catalogue.training("cityscapes_finetune", Request(snapshot=pretrained), site)
    some = Request(checkpoint=finetuned, shards=catalogue.SHARDS)
    every = range(1, catalogue.SHARDS + 1)
    first = replace(some, options=("--protocols",))  # else components.yaml has no thresholds
    evaluate, merge = catalogue.evaluation("road_anomaly", first, site, run=finetuned, missing=every)
    (components,) = catalogue.components("road_anomaly", some, site, run=finetuned, missing=every)
    train_split = Request(checkpoint=finetuned, options=("--split", "train"))
    made = {
        "pretrain.yaml": (
            "Mapillary pre-training with the AbeT head, eight GPUs",
            (f"It starts from {trunk}.", *TRAIN_AGAIN),
            pretrain,
        ),
        "finetune.yaml": (
            "Cityscapes fine-tuning with the AbeT head, eight GPUs",
            (f"It starts from the best checkpoint of {pretrained}.", *TRAIN_AGAIN),
            finetune,
        ),
        "eval.yaml": (
            f"Evaluation of {finetuned} on RoadAnomaly in {catalogue.SHARDS} shards, one GPU each",
            (
                "Apply merge.yaml with it: that waits for the shards, and names those that have failed for good.",
                *EVALUATE_AGAIN,
            ),
            evaluate,
        ),
        "merge.yaml": ("Adds up the shards of eval.yaml", ("It may be applied together with that.", UNCHANGED), merge),
        "components.yaml": (
            f"The second pass of that evaluation, which finds objects, in {catalogue.SHARDS} shards, one GPU each",
            ("Apply it when merge.yaml is done: its last shard to end writes the figures.", *EVALUATE_AGAIN),
            components,
        ),
        "fit.yaml": (
            f"Fits what some scores need, for {finetuned}, on the training images of Cityscapes, one GPU",
            (*FIT_FIRST, PASS_AGAIN, UNCHANGED),
            catalogue.fit("cityscapes", Request(checkpoint=finetuned), site),
        ),
        "calibrate.yaml": (
            f"Chooses thresholds for {finetuned} on the training split of LostAndFound, one GPU",
            ("The result lies beside the weights.", PASS_AGAIN, UNCHANGED),
            catalogue.calibration("lost_and_found", train_split, site),
        ),
    }
    found = {
        file: Manifest(title=title, notes=notes, spec=spec, profile=profile)
        for file, (title, notes, spec) in made.items()
    }
    trainer = profile.model_copy(update={"api": "trainjob"})
    found["finetune-trainjob.yaml"] = replace(
        found["finetune.yaml"],
        title="The same for Kubeflow Trainer 2.x (TrainJob), in place of the training operator 1.x",
        profile=trainer,
    )
    return found


def render(manifest: Manifest, site: SiteConfig, *, source: str = EXAMPLE) -> str:
    """The text of one file; ``source`` is the name of the site file."""
    lines = (*manifest.notes, needs(manifest), *origin(source))
    comment = [f"# {manifest.title}.", *(f"# {line}" for line in lines)]
    return "\n".join([*comment, to_yaml(documents(manifest.spec, site, manifest.profile))])


def write_all(folder: Path, site: SiteConfig, profile: KubernetesProfile, *, source: str = EXAMPLE) -> Iterator[Path]:
    """Render every file into ``folder``; yields their paths. Raises UsageError when it cannot be one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {folder}: {error.strerror}; name another folder") from None
    if not isinstance(site.artifacts, S3Uri) and not profile.volumes:
        raise UsageError(
            f"artifacts: {site.artifacts} is a folder of this machine: set `artifacts` in the site file to s3://, or "
            "name the claim that holds it under `volumes:` of the Kubernetes profile"
        )
    for name, manifest in manifests(site, profile).items():
        path = folder / name
        path.write_text(render(manifest, site, source=source), encoding="utf-8")
        yield path
