"""A real Label Studio on loopback for the slow tests: installed once into an environment of its own, started on SQLite in a folder that
goes away, driven through its REST interface, and ended with all that it started. Nothing of it is known to the package itself.

Installing takes about two minutes, the first start (its migrations) half a minute.
"""

import contextlib
import http.cookiejar
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".venv-label-studio"
VERSION = "1.23.2"
OWNER, SECOND = "annotator@example.com", "second@example.com"
PASSWORD = "only-on-loopback-1"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
START_SECONDS = 150
# asks the system to end the server with its parent, whatever ends that, and becomes the server
WITH_PARENT = "import ctypes, os, sys; sys.platform != 'linux' or ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
ENDINGS = {"JSON": "json", "JSON_MIN": "json", "CSV": "csv", "TSV": "tsv", "CONLL2003": "conll"}


class Refused(Exception):
    """What was asked, and the server's answer where it is not a good one."""


class Client:
    """One annotator's calls."""

    def __init__(self, address: str, authorization: str = "", log: Path | None = None):
        self.address = address
        self.log = log
        self.cookies = http.cookiejar.CookieJar()
        self._headers = {"Authorization": authorization} if authorization else {}
        no_proxy = urllib.request.ProxyHandler({})
        self._opener = urllib.request.build_opener(no_proxy, urllib.request.HTTPCookieProcessor(self.cookies))

    def open(self, method: str, path: str, content: bytes | None = None, **headers: str) -> bytes:
        """Send one request and return the body of its answer; raise Refused for anything but a good one."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address + path, content, {**self._headers, **named}, method=method)
        try:
            with self._opener.open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(method, path, error.code, error.read().decode("utf-8", "replace")[:2000]) from None

    def call(self, method: str, path: str, body: Any = None, /, **query: Any) -> Any:
        """Send JSON and return what the answer's JSON holds."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        content = None if body is None else json.dumps(body).encode()
        headers = {"X_CSRFToken": self._cookie(), "Referer": self.address} if self._cookie() else {}
        answer = self.open(method, path, content, Content_Type="application/json", **headers)
        return json.loads(answer) if answer.strip() else None

    def form(self, path: str, **fields: str) -> None:
        """Fill in a form of the web page: the first request brings the cookie that the second must repeat."""
        self.open("GET", path)
        content = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": self._cookie()}).encode()
        self.open("POST", path, content, Referer=self.address + path)

    def _cookie(self) -> str:
        return next((cookie.value or "" for cookie in self.cookies if cookie.name == "csrftoken"), "")

    def second_annotator(self) -> "Client":
        """Return another annotator, who signed up through an invitation and works as default servers of today want it.

        These take no plain token: a personal access token is exchanged for one that is good for five minutes.
        """
        page = Client(self.address)
        page.form(self.call("GET", "/api/invite")["invite_url"], email=SECOND, password=PASSWORD, allow_newsletters="false", how_find_us="")
        personal = page.call("POST", "/api/token/", {})["token"]
        access = Client(self.address).call("POST", "/api/token/refresh", {"refresh": personal})["access"]
        return Client(self.address, f"Bearer {access}")

    def create_project(self, config: str) -> int:
        """Return the number of a new project with a labelling config."""
        return self.call("POST", "/api/projects/", {"title": "harbour", "label_config": config})["id"]

    def import_tasks(self, project: int, tasks: Sequence[Any]) -> list[int]:
        """Return the numbers that the imported tasks got."""
        return self.call("POST", f"/api/projects/{project}/import", list(tasks), return_task_ids="true")["task_ids"]

    def annotate(self, task: int, result: Sequence[Any], **fields: Any) -> int:
        """Return the number of a new annotation of a task."""
        return self.call("POST", f"/api/tasks/{task}/annotations/", {"result": list(result), "lead_time": 2.5, **fields})["id"]

    def tasks(self, project: int) -> list[Any]:
        """Return the tasks of a project with all that hangs on them, as its pages show them."""
        return self.call("GET", "/api/tasks", project=project, fields="all", page_size=1000)["tasks"]

    def export(self, project: int, form: str, folder: Path, way: str = "plain") -> Path:
        """Download an export and return its file: of annotated tasks (plain), of all tasks, or of a snapshot with everything written out."""
        path = folder / f"{form}_{way}.{ENDINGS[form]}"
        if way == "snapshot":
            source = f"{self._snapshot(project, form)}/download?exportType={form}"
        else:
            source = f"/api/projects/{project}/export?exportType={form}&download_all_tasks={str(way == 'all').lower()}"
        path.write_bytes(self.open("GET", source))
        return path

    def _snapshot(self, project: int, form: str) -> str:
        """Make a snapshot, convert it where it has another form than JSON, and return its address; without Redis both are done on answering."""
        whole = {"only_id": False}
        options = {"drafts": whole, "predictions": whole, "annotations__completed_by": whole}
        snapshots = f"/api/projects/{project}/exports/"
        made = f"{snapshots}{self.call('POST', snapshots, {'title': form, 'serialization_options': options})['id']}"
        if form != "JSON":
            self.call("POST", f"{made}/convert", {"export_type": form})
        return made


def installed(environment: Path, package: str, version: str) -> Path:
    """Return the program that a package is named after, installed first where it is absent."""
    program = environment / "bin" / package
    if not program.is_file() or not any(environment.glob(f"lib/*/site-packages/{package.replace('-', '_')}-{version}.dist-info")):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True, timeout=120)
        command = [str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", f"{package}=={version}"]
        subprocess.run(command, check=True, timeout=1200)
    return program


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Client]:
    """Start a server whose files are all in a folder, yield its owner's client, end it; its last output is shown where something failed."""
    program, port = installed(ENVIRONMENT, "label-studio", VERSION), free_port()
    address = f"http://127.0.0.1:{port}"
    options = ["--no-browser", "--internal-host", "127.0.0.1", "--port", str(port), "--host", address]
    command = [sys.executable, "-c", WITH_PARENT, str(program), "start", *options]
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=folder, env=_environment(folder), stdout=output, stderr=output, start_new_session=True)
        try:
            _wait(server, address)
            yield Client(address, f"Token {TOKEN}", log)
        except BaseException:
            print(last_lines(log))
            raise
        finally:
            end_group(server)


def last_lines(log: Path) -> str:
    """Return the end of what the server printed."""
    return f"the end of {log}:\n{log.read_text('utf-8', 'replace')[-4000:]}"


def _environment(folder: Path) -> dict[str, str]:
    """Return settings under which it calls nobody, asks nothing and knows nothing of its user."""
    return {
        "PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1",
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false", "LABEL_STUDIO_LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "",
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_USERNAME": OWNER, "LABEL_STUDIO_PASSWORD": PASSWORD, "LABEL_STUDIO_USER_TOKEN": TOKEN,
    }  # fmt: skip


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        with contextlib.suppress(OSError, Refused):
            Client(address).call("GET", "/health")
            return
        time.sleep(0.5)
    raise AssertionError(f"the server did not answer within {START_SECONDS} seconds")


def end_group(server: subprocess.Popen[bytes]) -> None:
    """End the whole group of processes that the server leads: it was started as one of its own."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=15)
            return
