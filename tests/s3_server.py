"""A real S3 server for tests: SeaweedFS on loopback, started by the scripts that users start theirs with."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

from abet.places import S3Uri
from abet.site import S3Settings

SCRIPTS = Path(__file__).parents[1] / "slurm" / "one-machine"
PORTS_IN_A_ROW = 8  # as s3-up.sh takes them
# Below what systems hand out to outgoing connections, so that a server that was killed finds its ports free again
PORTS = range(20_000, 32_000, PORTS_IN_A_ROW)
# What would come before the keys of the file, or lead away from loopback
FOREIGN = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL")


def weed() -> str | None:
    """The server's program: ``$WEED``, that of this environment, or one on PATH."""
    beside_python = Path(sys.executable).with_name("weed")
    return os.environ.get("WEED") or (str(beside_python) if beside_python.is_file() else shutil.which("weed"))


def free_ports(in_a_row: int) -> int:
    """The first of so many loopback ports in a row on which nobody listens."""
    for port in random.SystemRandom().sample(PORTS, k=50):
        with ExitStack() as stack:
            try:
                for each in range(port, port + in_a_row):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", each))
            except OSError:
                continue
            return port
    raise RuntimeError(f"50 tries found no {in_a_row} free ports in a row from {PORTS.start} to {PORTS.stop}")


def run_script(name: str, **env: object) -> None:
    """Run a script of slurm/one-machine with variables added to the environment; what it says is in the error."""
    environment = os.environ | {name: str(value) for name, value in ({"WEED": weed() or ""} | env).items()}
    done = subprocess.run(
        [SCRIPTS / name], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name}:\n{done.stdout}")


class S3Server:
    """One server with its state below `root`, a folder with a short path; ports and keys outlive a restart.

    Attributes:
        endpoint: URL of the gateway.
        settings: what a site file would say of this server.
        env: environment variables with which boto3, s5cmd and aws find the read-write keys.
        readonly_env: the same for keys that may read and list, no more.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "s3"
        self.port = free_ports(PORTS_IN_A_ROW)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.settings = S3Settings(endpoint=self.endpoint, region="us-east-1")
        self.env = self._env("credentials")
        self.readonly_env = self._env("credentials-readonly")
        self._numbers: Iterator[int] = count(1)
        self._shared: str | None = None

    def start(self) -> None:
        """Start the server, or start it again, and wait until it stores what it is given."""
        self._script("s3-up.sh")

    def start_if_dead(self) -> None:
        """Start it if a test has left it dead: where it listens, that is found out at once."""
        if not self._listens():
            self.start()

    def stop(self) -> None:
        """Let it end in order."""
        self._script("s3-down.sh")

    def throw_away(self) -> None:
        """End it without the seconds of an orderly end: nobody asks for what it stored."""
        if self._listens():
            self.kill()
        self.stop()

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, with connections open. Returns when its ports are closed."""
        os.kill(int((self.state / "pid").read_text()), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while self._listens():
            assert time.monotonic() < deadline, "a killed server still listens"
            time.sleep(0.01)

    def place(self, name: str) -> S3Uri:
        """A place of that name, under which nothing is stored: quicker to be had than a bucket of its own."""
        self._shared = self._shared or self.bucket()
        return S3Uri(self._shared, f"{next(self._numbers)}/{name}")

    def bucket(self) -> str:
        """Make an empty bucket and return its name."""
        import boto3

        name = f"bucket-{os.getpid()}-{next(self._numbers)}"
        keys = dict(
            line.split(" = ")
            for line in (self.state / "credentials").read_text().splitlines()
            if not line.startswith("[")
        )
        session: Any = boto3.session.Session(
            aws_access_key_id=keys["aws_access_key_id"], aws_secret_access_key=keys["aws_secret_access_key"]
        )
        session.client("s3", endpoint_url=self.endpoint, region_name="us-east-1").create_bucket(Bucket=name)
        return name

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _env(self, credentials: str) -> dict[str, str]:
        return {
            "AWS_SHARED_CREDENTIALS_FILE": str(self.state / credentials),
            "AWS_CONFIG_FILE": str(self.state / "no-config"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def _script(self, name: str) -> None:
        run_script(name, ABET_CLUSTER_ROOT=self.root, ABET_S3_PORT=self.port)
