"""The roles of the deployed profile as processes of their own, each with a data directory that no other role sees."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.servers import require_servers
from tests.service import Service


class Deployment(Service):
    """`spatial-etl api`, `worker` and `sweep`. The service's own methods look at the API; its `process` is the API's.

    Without S3 the roles have to share the directory of the buckets: a link in each data directory leads there.
    """

    def __init__(self, data_dir: Path, **environment: str) -> None:
        super().__init__(data_dir, **environment)
        self.roles: list[subprocess.Popen[str]] = []
        (data_dir / "objects").mkdir(parents=True)
        # Signs of life lie in the temporary folder: other services of this host must not be taken for these.
        (data_dir / "tmp").mkdir()
        self.environment["TMPDIR"] = str(data_dir / "tmp")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command of the deployment to its end, in the environment of the roles."""
        words = (sys.executable, "-m", "app", *words)
        return subprocess.run(words, check=False, capture_output=True, text=True, env=self._environment("command"))

    def start(self) -> None:
        require_servers()
        done = self.command("migrate")
        assert done.returncode == 0, done.stderr
        self.start_api()
        self.start_role("worker")
        self.start_role("sweep")

    def start_api(self) -> None:
        self.process = self.start_role("api", "--port", "0", "--json", output=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the API did not start:\n{self.log.read_text()}"
        self.url = json.loads(line)["url"]
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def start_role(self, *words: str, output: int | None = None) -> subprocess.Popen[str]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "app", *words],
                env=self._environment(words[0]), stdout=output or log, stderr=log, text=True,
            )  # fmt: skip
        self.roles.append(process)
        return process

    def workers(self) -> list[psutil.Process]:
        return [psutil.Process(role.pid) for role in self.roles if role.poll() is None and "worker" in role.args]

    def titles(self) -> list[str]:
        """Command lines of all processes, as `ps` shows them."""
        roots = [psutil.Process(role.pid) for role in self.roles if role.poll() is None]
        return [" ".join(each.cmdline()) for root in roots for each in (root, *root.children(recursive=True))]

    def stop_roles(self) -> list[int]:
        """SIGTERM to each; their exit codes."""
        for role in self.roles:
            if role.poll() is None:
                role.send_signal(signal.SIGTERM)
        return [role.wait(60) for role in self.roles]

    def _environment(self, role: str) -> dict[str, str]:
        own = self.data_dir / role
        own.mkdir(exist_ok=True)
        if not (own / "objects").is_symlink():
            (own / "objects").symlink_to(self.data_dir / "objects")
        return {**self.environment, "SPATIAL_ETL_DATA_DIR": str(own)}


@contextmanager
def running_deployment(data_dir: Path, **environment: str) -> Iterator[Deployment]:
    deployment = Deployment(data_dir, **environment)
    try:
        deployment.start()
        yield deployment
    finally:
        family = [child for role in deployment.roles if role.poll() is None
                  for child in psutil.Process(role.pid).children(recursive=True)]  # fmt: skip
        codes = deployment.stop_roles()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, f"left running: {alive}"
        assert set(codes) <= {0}, f"{codes}\n{deployment.log.read_text()[-4000:]}"
