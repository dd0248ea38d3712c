"""A real MLflow server on loopback for the slow tests: installed once into an environment of its own, on SQLite in a folder that goes away.

Installing takes about a minute and 800 MB, starting some seconds. It can be stopped as a hanging machine is, and killed and started again.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.label_studio_server import WITH_PARENT, end_group, free_port, installed, last_lines

ENVIRONMENT = Path(__file__).parent.parent / ".venv-mlflow"
VERSION = "3.17.2"
START_SECONDS = 120


class Server:
    """One server, always at the same address and with the same files."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        options += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--artifacts-destination", str(self.folder / "artifacts")]
        command = [sys.executable, "-c", WITH_PARENT, str(installed(ENVIRONMENT, "mlflow", VERSION)), "server", *options]
        environment = {"PATH": f"{ENVIRONMENT}/bin:{os.environ['PATH']}", "HOME": str(self.folder), "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        first = f"{self.address}/api/2.0/mlflow/experiments/get?experiment_id=0"  # /health answers before the database is open
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            assert self._process.poll() is None, last_lines(self.folder / "server.log")
            with contextlib.suppress(OSError), urllib.request.urlopen(first, timeout=60):
                return
            time.sleep(0.3)
        raise AssertionError(last_lines(self.folder / "server.log"))

    def send(self, signum: int) -> None:
        """Send a signal to all its processes; SIGSTOP makes it hang, SIGCONT wakes it up."""
        assert self._process is not None
        os.killpg(self._process.pid, signum)

    def kill(self) -> None:
        """Kill it, so that nobody listens at its address."""
        self.send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(timeout=15)

    def end(self) -> None:
        """End it, however it is."""
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGCONT)
            end_group(self._process)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Start a server whose files are all in a folder, yield it, end it."""
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.end()
