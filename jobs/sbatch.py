"""The committed ``slurm/*.sbatch``: for login nodes without our Python, equal in behaviour to what submitit submits.

    python -m jobs render --output slurm

The nodes run the same supervisor, which asks scontrol itself to start the job again.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from abet.errors import UsageError
from abet.names import OOD_NAMES, TRAINING_NAMES
from abet.site import FROM_NOTHING, SiteConfig
from jobs import catalogue
from jobs.catalogue import Request
from jobs.executors.parameters import exported_names, sbatch_options
from jobs.mounts import mounts_of, weights_mount
from jobs.profile import ROOT, SlurmProfile
from jobs.runtime import runner_of, srun_options
from jobs.spec import JobSpec


@dataclass(frozen=True, kw_only=True)
class Script:
    """One committed file: a job whose last words come from the command line of sbatch."""

    title: str
    usage: str
    spec: JobSpec
    command: str
    """Shell words of the abet command."""
    check: str = ""
    """Shell line that refuses a call without its arguments."""


def scripts(site: SiteConfig) -> Mapping[str, Script]:
    """File name -> script; name, resources and grace are those of the same job in `jobs.catalogue`."""
    named = site
    # A script that takes another data set is rendered all the same; what is not named is not shown to a container
    site = site.model_copy(
        update={"data": {name: Path("/") / name for name in (*OOD_NAMES, *TRAINING_NAMES)} | named.data}
    )
    pretrain = catalogue.training("mapillary_pretrain", Request(snapshot=FROM_NOTHING), site)
    finetune = catalogue.training("cityscapes_finetune", Request(snapshot=FROM_NOTHING), site)
    every = range(1, catalogue.SHARDS + 1)
    some = Request(checkpoint=site.artifacts / "cityscapes_finetune", shards=catalogue.SHARDS)
    evaluate, merge = catalogue.evaluation("road_anomaly", some, site, run=site.artifacts / "run", missing=every)
    evaluate = _seeing(evaluate, named, OOD_NAMES)
    (components,) = catalogue.components("road_anomaly", some, site, run=site.artifacts / "run", missing=every)
    fit = catalogue.fit(catalogue.FITTED_ON, some, site)
    calibrate = catalogue.calibration("road_anomaly", some, site)
    return {
        "pretrain.sbatch": Script(
            title="Mapillary pre-training with the AbeT head, eight GPUs",
            usage="sbatch slurm/pretrain.sbatch --snapshot IMAGENET_TRUNK|none [further options of abet train]",
            spec=_seeing(pretrain, named, ["mapillary"]),
            command='train mapillary_pretrain "$@"',
        ),
        "finetune.sbatch": Script(
            title="Cityscapes fine-tuning with the AbeT head, eight GPUs",
            usage="sbatch slurm/finetune.sbatch PRETRAINED [further options of abet train]",
            spec=_seeing(finetune, named, ["cityscapes"]),
            command='train cityscapes_finetune --snapshot "$@"',
            check=_needs(1, "PRETRAINED"),
        ),
        "eval.sbatch": Script(
            title=f"Evaluation of a checkpoint on an OOD data set in {catalogue.SHARDS} shards, one GPU each",
            usage="sbatch slurm/eval.sbatch DATASET CHECKPOINT [further options of abet evaluate]",
            spec=evaluate.model_copy(update={"name": "evaluate"}),
            command=f'evaluate --dataset "$1" --checkpoint "$2" --shard "$SLURM_ARRAY_TASK_ID/{catalogue.SHARDS}" '
            '"${@:3}"',
            check=_needs(2, "DATASET CHECKPOINT"),
        ),
        "merge.sbatch": Script(
            title="Adds up the shards of an evaluation, once all are there",
            usage="sbatch --dependency=afterok:NUMBER slurm/merge.sbatch DATASET RUN",
            spec=_seeing(merge.model_copy(update={"name": "merge"}), named, []),
            command='merge "$2" --dataset "$1"',
            check=_needs(2, "DATASET RUN"),
        ),
        "components.sbatch": Script(
            title=f"Second pass of a merged evaluation with --protocols in {catalogue.SHARDS} shards, one GPU each",
            usage="sbatch --dependency=afterok:NUMBER slurm/components.sbatch DATASET RUN [further options of abet "
            "components]",
            spec=_seeing(components.model_copy(update={"name": "components"}), named, OOD_NAMES),
            command=f'components "$2" --dataset "$1" --shard "$SLURM_ARRAY_TASK_ID/{catalogue.SHARDS}" "${{@:3}}"',
            check=_needs(2, "DATASET RUN"),
        ),
        "fit.sbatch": Script(
            title="Fits what some scores need on a training set, kept with the checkpoint, one GPU",
            usage="sbatch slurm/fit.sbatch DATASET CHECKPOINT [further options of abet fit]",
            spec=_seeing(fit.model_copy(update={"name": "fit"}), named, TRAINING_NAMES, keeps=True),
            command='fit --dataset "$1" --checkpoint "$2" "${@:3}"',
            check=_needs(2, "DATASET CHECKPOINT"),
        ),
        "calibrate.sbatch": Script(
            title="Chooses thresholds on a labelled set, kept with the checkpoint, one GPU",
            usage="sbatch slurm/calibrate.sbatch DATASET CHECKPOINT [further options of abet calibrate]",
            spec=_seeing(calibrate.model_copy(update={"name": "calibrate"}), named, OOD_NAMES, keeps=True),
            command='calibrate --dataset "$1" --checkpoint "$2" "${@:3}"',
            check=_needs(2, "DATASET CHECKPOINT"),
        ),
    }


def _seeing(spec: JobSpec, site: SiteConfig, datasets: Sequence[str], *, keeps: bool = False) -> JobSpec:
    """The same with the folders of a site for a command whose last words are not known yet.

    ``keeps``: it writes beside its checkpoint, which may be one of the weights.
    """
    roots = [site.data[name] for name in datasets if name in site.data]
    return spec.model_copy(update={"mounts": (*mounts_of(site, data=roots), weights_mount(site, read_only=not keeps))})


def _needs(count: int, words: str) -> str:
    return f'[ "$#" -ge {count} ] || {{ echo "abet: error: after the script, name {words}" >&2; exit 2; }}'


def render(name: str, site: SiteConfig, profile: SlurmProfile) -> str:
    """The text of one script for this site. Raises UsageError for a container without an image."""
    script = scripts(site)[name]
    spec = script.spec
    options = sbatch_options(spec, profile, exported_names(spec, profile, None))
    if spec.shards:
        options["array"] = f"{spec.shards[0]}-{spec.shards[-1]}"
    options["output"] = "%x-%A_%a.log" if spec.shards else "%x-%j.log"
    folder = (
        "$SLURM_JOB_NAME-$SLURM_ARRAY_JOB_ID/shard-$SLURM_ARRAY_TASK_ID"
        if spec.shards
        else "$SLURM_JOB_NAME-$SLURM_JOB_ID"
    )
    lines = [
        "#!/bin/bash",
        f"# {script.title}.",
        f"#   {script.usage}",
        "# Submit it from the checkout, or set ABET_ROOT. Rendered by `make manifests`: change the profile instead.",
        *(_flag(key, value) for key, value in options.items()),
        "set -euo pipefail",
        "root=${ABET_ROOT:-$SLURM_SUBMIT_DIR}",
        '[ -f "$root/jobs/supervisor.py" ] || {',
        '  echo "abet: error: $root is no checkout of abet: submit from there, or set ABET_ROOT" >&2',
        "  exit 2",
        "}",
        'cd "$root"',
        *([script.check] if script.check else []),
        f"record=${{ABET_JOBS:-{_from_checkout(site.jobs)}}}/{folder}",
        "",
        # No exec: what ends the batch script alone must not reach srun, which would kill its tasks
        f"srun --unbuffered {shlex.join(srun_options(spec))} \\",
        f'  {_host_python(profile)} -m jobs.supervisor --name {spec.name} --record "$record" \\',
        f"  --processes {spec.processes_per_node if spec.kind == 'train' else 0} --retries {spec.retries} "
        f"--grace-seconds {spec.grace_seconds} \\",
        *(["  --term-kills \\"] if profile.container.runtime == "pyxis" else []),
        f"  --runner {_runner(spec, site, profile)} \\",
        f"  -- {script.command}",
        "",
    ]
    return "\n".join(lines)


def _flag(key: str, value: str | int | bool) -> str:
    return f"#SBATCH --{key}" if value is True else f"#SBATCH --{key}={shlex.quote(str(value))}"


def _host_python(profile: SlurmProfile) -> str:
    # In a container the supervisor needs the standard library alone
    python = profile.python if profile.container.runtime == "none" else profile.host_python or "python3"
    return shlex.quote(str(Path(python).expanduser()))


def _from_checkout(path: Path) -> str:
    """A shell word for a path: from the checkout where it lies below it, so that it holds in another one."""
    return shlex.quote(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))


def _runner(spec: JobSpec, site: SiteConfig, profile: SlurmProfile) -> str:
    """The runner as one quoted word, by paths that hold from the checkout."""
    if profile.container.runtime == "none":
        runner = runner_of(profile, spec, image=None, scratch=site.scratch_folder)
        words = (*runner.prefix, str(Path(profile.python).expanduser()), *runner.abet[1:])
        return shlex.quote(shlex.join(words))
    return shlex.quote(runner_of(profile, spec, image=site.image, scratch=site.scratch_folder).text())


def write_all(folder: Path, site: SiteConfig, profile: SlurmProfile) -> list[Path]:
    """Render every script into ``folder``; returns their paths. Raises UsageError when it is no folder."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; make it first, or name another --output")
    written = []
    for name in scripts(site):
        path = folder / name
        path.write_text(render(name, site, profile), encoding="utf-8")
        written.append(path)
    return written
