"""A hub on loopback: the part of the Hub's protocol that huggingface_hub speaks for models, with tokens, commits and broken connections.

Written from what the library sends (its sources, and a log of its calls); git, Xet storage, pull requests and branches are left out.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

LARGE = 50_000  # bytes from which a file goes to the store of large files, as weights of any size do
TOKENS = {"hf_anna_writes": ("anna", True), "hf_anna_reads": ("anna", False), "hf_bert_writes": ("bert", True)}


@dataclass
class Repo:
    """A place: its commits, oldest first, each with all its files."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, revision: str = "main") -> str | None:
        return list(self.commits)[-1] if revision == "main" else revision if revision in self.commits else None

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.commit()]

    def add(self, files: dict[str, bytes], message: str) -> str:
        name = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[name] = files
        self.messages.append(message)
        return name


class Refusal(Exception):
    """An answer that is no good one: status, the Hub's code for it, and words."""


class Hub:
    """What the server holds, and how often it is to break a connection in the middle."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.asked: list[str] = []  # method, path and range of each request
        self.cut_uploads = self.cut_downloads = 0
        self.cut_over = 0  # bytes from which an upload may be cut
        self.takes_commits = True
        self.address = ""

    def create(self, repo: str, files: dict[str, bytes], private: bool = False) -> Repo:
        self.repos[repo] = Repo(private)
        self.repos[repo].add({".gitattributes": b""}, "initial commit")
        self.repos[repo].add(files, "first")
        return self.repos[repo]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def handle_one(self) -> None:
        ranged = self.headers.get("Range", "")
        self.hub.asked.append(f"{self.command} {urllib.parse.unquote(self.path)} {ranged}".strip())
        path = urllib.parse.unquote(self.path.partition("?")[0])
        try:
            for method, pattern, answer in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and self.command in method:
                    answer(self, **found.groupdict())
                    return
            raise Refusal(404, "EntryNotFound", f"no route {self.command} {path}")
        except Refusal as refusal:
            status, code, words = refusal.args
            self.rest()
            self.give(status, {"error": words}, {"X-Error-Code": code, "X-Error-Message": words})

    do_GET = do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815

    def rest(self) -> bytes:
        size, self.headers["Content-Length"] = int(self.headers.get("Content-Length") or 0), None
        del self.headers["Content-Length"]
        return self.rfile.read(size)

    def give(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), "Content-Type": "application/json", **(headers or {})}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass

    def who(self) -> tuple[str | None, bool]:
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if given and given not in TOKENS:
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        return TOKENS.get(given, (None, False))

    def repo(self, name: str) -> Repo:
        user, _ = self.who()
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and user != name.partition("/")[0]):
            raise Refusal(404 if user else 401, "RepoNotFound", "Repository not found")
        return repo

    def writing(self, name: str) -> None:
        user, may_write = self.who()
        if user is None:
            raise Refusal(401, "", "Invalid username or password.")
        if not may_write or user != name.partition("/")[0]:
            raise Refusal(403, "", "You don't have the rights to create a model under this namespace")

    def create(self) -> None:
        asked = json.loads(self.rest())
        name = f"{asked['organization']}/{asked['name']}"
        self.writing(name)
        if name in self.hub.repos:
            raise Refusal(409, "", "You already created this model repo")
        repo = self.hub.repos[name] = Repo(asked.get("visibility") == "private")
        repo.add({".gitattributes": b"*.safetensors filter=lfs"}, "initial commit")
        self.give(200, {"url": f"{self.hub.address}/{name}", "name": name, "id": "1"})

    def validate(self) -> None:
        problems = card_problems(json.loads(self.rest())["content"])
        self.give(400 if problems else 200, {"errors": [{"message": problem} for problem in problems], "warnings": []})

    def info(self, name: str, revision: str | None) -> None:
        repo, commit = self.at(name, revision or "main")
        siblings = [{"rfilename": path} for path in repo.commits[commit]]
        self.give(200, {"id": name, "modelId": name, "sha": commit, "private": repo.private, "tags": [], "siblings": siblings})

    def at(self, name: str, revision: str) -> tuple[Repo, str]:
        repo = self.repo(name)
        commit = repo.commit(revision)
        if commit is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, commit

    def tree(self, name: str, revision: str) -> None:
        repo, commit = self.at(name, revision)
        self.give(200, [described(path, raw) for path, raw in repo.commits[commit].items()])

    def preupload(self, name: str, revision: str) -> None:
        self.writing(name)
        self.at(name, revision)
        files = json.loads(self.rest())["files"]
        modes = [{"path": file["path"], "uploadMode": mode(file["path"], file["size"]), "shouldIgnore": False} for file in files]
        self.give(200, {"files": modes})

    def batch(self, name: str) -> None:
        self.writing(name)
        answers = []
        for item in json.loads(self.rest())["objects"]:
            actions = {
                "upload": {"href": f"{self.hub.address}/large/{item['oid']}", "header": {}},
                "verify": {"href": f"{self.hub.address}/verify", "header": {}},
            }
            answers.append({**item, **({} if item["oid"] in self.hub.large else {"actions": actions})})
        self.give(200, {"transfer": "basic", "objects": answers})

    def store(self, oid: str) -> None:
        if self.hub.cut_uploads and int(self.headers["Content-Length"]) > self.hub.cut_over:
            self.hub.cut_uploads -= 1
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
            self.hang_up()
            return
        raw = self.rest()
        assert hashlib.sha256(raw).hexdigest() == oid
        self.hub.large[oid] = raw
        self.give(200, b"")

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def verify(self) -> None:
        asked = json.loads(self.rest())
        self.give(200 if len(self.hub.large[asked["oid"]]) == asked["size"] else 404, {})

    def commit(self, name: str, revision: str) -> None:
        self.writing(name)
        if not self.hub.takes_commits:
            raise Refusal(403, "", "Your storage is used up")
        repo, _ = self.at(name, revision)
        files, message = dict(repo.files), ""
        for line in self.rest().splitlines():
            part = json.loads(line)
            value = part["value"]
            if part["key"] == "header":
                message = value["summary"]
            elif part["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif part["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif part["key"] == "deletedFile":
                del files[value["path"]]
        oid = repo.add(files, message)
        self.give(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.address}/{name}/commit/{oid}", "hookOutput": ""})

    def resolve(self, name: str, revision: str, path: str) -> None:
        repo, commit = self.at(name, revision)
        raw = repo.commits[commit].get(path)
        if raw is None:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        headers = {"ETag": f'"{etag(path, raw)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        first = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        if self.command == "GET" and mode(path, len(raw)) == "lfs" and self.hub.cut_downloads:
            self.hub.cut_downloads -= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw[: len(raw) // 2])
            self.wfile.flush()
            self.hang_up()
        elif first:
            self.give(206, raw[first:], {**headers, "Content-Range": f"bytes {first}-{len(raw) - 1}/{len(raw)}"})
        else:
            self.give(200, raw, headers)


NAME, REVISION = r"(?P<name>[^/]+/[^/]+?)", "(?P<revision>[^/]+)"
ROUTES = [
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"/api/models/{NAME}/preupload/{REVISION}", Handler.preupload),
    ("POST", f"/api/models/{NAME}/commit/{REVISION}", Handler.commit),
    ("GET", f"/api/models/{NAME}/tree/{REVISION}", Handler.tree),
    ("GET", f"/api/models/{NAME}(?:/revision/{REVISION})?", Handler.info),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/large/(?P<oid>[0-9a-f]{64})", Handler.store),
    ("POST", "/verify", Handler.verify),
    ("GET HEAD", f"/{NAME}/resolve/{REVISION}/(?P<path>.+)", Handler.resolve),
]


def mode(path: str, size: int) -> str:
    return "lfs" if path.endswith((".safetensors", ".onnx")) or size >= LARGE else "regular"


def etag(path: str, raw: bytes) -> str:
    """A large file is known by its SHA-256, another by git's name for it."""
    return hashlib.sha256(raw).hexdigest() if mode(path, len(raw)) == "lfs" else git_name(raw)


def git_name(raw: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


def described(path: str, raw: bytes) -> dict[str, Any]:
    large = {"lfs": {"oid": etag(path, raw), "size": len(raw), "pointerSize": 134}} if mode(path, len(raw)) == "lfs" else {}
    return {"type": "file", "path": path, "size": len(raw), "oid": git_name(raw), **large}


def card_problems(card: str) -> list[str]:
    """What is wrong with the head of a model card, by the library's own reading of an index of results."""
    head = re.match(r"---\n(.*?\n)---\n", card, re.DOTALL)
    if head is None:
        return [] if not card.startswith("---") else ["no end of the metadata"]
    try:
        data = yaml.safe_load(head[1])
        for each in data.get("model-index", []):
            name, results = model_index_to_eval_results([each])
            assert name == each["name"]
            assert all(isinstance(result.metric_value, float) for result in results)
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    expected = {"library_name": str, "pipeline_tag": str, "tags": list, "base_model": str, "datasets": list, "language": (str, list)}
    return [f'"{name}" must be {kind}' for name, kind in expected.items() if name in data and not isinstance(data[name], kind)]


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """Run a hub while the block runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
