import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, disable_progress_bars

from tests.data.reading import Reading
from tunny.core.errors import DataError
from tunny.data.prepare import read_splits
from tunny.data.readers import hub
from tunny.data.settings import DataSettings

TAGS = ["O", "B-PER", "I-PER", "B-LOC"]
FEATURES = Features(
    {"text": Value("string"), "label": ClassLabel(names=["bad", "good"]), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=TAGS))}
)  # fmt: skip
ROWS = {
    "text": ["fair wind", "rough sea", "calm"],
    "label": [1, 0, 1],
    "tokens": [["Anna", "Berg", "sailed"], ["to", "Oslo"], ["calm"]],
    "ner_tags": [[1, 2, 0], [0, 3], [0]],
}


@pytest.fixture(autouse=True)
def _quiet():
    disable_progress_bars()


def saved(folder, rows=ROWS, features=FEATURES):
    Dataset.from_dict(rows, features=features).save_to_disk(folder)
    return folder


def test_classes_of_a_saved_data_set_come_by_name(tmp_path):
    found = Reading(saved(tmp_path / "ships"), "classify")
    assert [(example.text, example.labels) for example in found] == [("fair wind", ("good",)), ("rough sea", ("bad",)), ("calm", ("good",))]


def test_classes_in_lists_come_by_name(tmp_path):
    found = Reading(saved(tmp_path / "ships"))
    assert [(example.text, example.spans) for example in found] == [
        ("Anna Berg sailed", ((0, 9, "PER"),)), ("to Oslo", ((3, 7, "LOC"),)), ("calm", ())
    ]  # fmt: skip


def test_classes_in_spans_come_by_name(tmp_path):
    span = {"start": Value("int64"), "end": Value("int64"), "label": ClassLabel(names=["PER", "LOC"])}
    rows = {"text": ["to Oslo", "calm"], "spans": [[{"start": 3, "end": 7, "label": 1}], []]}
    found = Reading(saved(tmp_path / "ships", rows, Features({"text": Value("string"), "spans": List(span)})))
    assert [example.spans for example in found] == [((3, 7, "LOC"),), ()]


def test_the_folder_is_told_from_others_and_said(tmp_path):
    found = Reading(saved(tmp_path / "ships"), "classify")
    assert "ships: format hub (it is a folder that the library datasets saved)" in found.audit.notes


def test_data_labels_must_agree_by_name(tmp_path):
    folder = saved(tmp_path / "ships")
    assert len(Reading(folder, "classify", labels={"good": 0, "bad": 1})) == 3
    with pytest.raises(DataError, match=r"ships:1: label 'good' is not in data\.labels"):
        Reading(folder, "classify", labels=["fine", "bad"])


def test_integers_without_classes_are_named_by_data_labels(tmp_path):
    features = Features({"tokens": List(Value("string")), "ner_tags": List(Value("int64"))})
    folder = saved(tmp_path / "ships", {name: ROWS[name] for name in features}, features)
    assert Reading(folder, labels=TAGS)[1].spans == ((3, 7, "LOC"),)


def test_a_row_without_a_class_is_a_bad_one(tmp_path):
    folder = saved(tmp_path / "ships", ROWS | {"label": [1, -1, 0]})
    with pytest.raises(DataError, match="ships:2: no label; every row needs one here"):
        Reading(folder, "classify")


def test_a_split_of_several_is_the_folder_in_the_folder(tmp_path):
    ships = Dataset.from_dict(ROWS, features=FEATURES)
    DatasetDict({"train": ships, "test": ships.select([0])}).save_to_disk(tmp_path / "ships")
    assert len(Reading(tmp_path / "ships" / "test", "classify")) == 1
    with pytest.raises(DataError, match=r"ships: holds 2 splits\. Name one of them: .*ships/train, .*ships/test$"):
        Reading(tmp_path / "ships", "classify")


def test_the_only_split_needs_no_name(tmp_path):
    DatasetDict({"train": Dataset.from_dict(ROWS, features=FEATURES)}).save_to_disk(tmp_path / "ships")
    assert len(Reading(tmp_path / "ships", "classify")) == 3


def test_a_damaged_folder_is_named(tmp_path):
    folder = saved(tmp_path / "ships")
    (folder / "data-00000-of-00001.arrow").write_bytes(b"half")
    with pytest.raises(DataError, match="ships: cannot be loaded as a data set: "):
        Reading(folder, "classify")


@pytest.mark.parametrize("name", ["hub:", "hub:#train", "hub:owner/ships#"])
def test_a_name_of_no_form_is_refused(name):
    with pytest.raises(DataError, match=r"expected hub:OWNER/NAME\[:CONFIG\]\[@REVISION\]\[#SPLIT\]"):
        Reading(name, "classify")


def test_without_the_library_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    folder = saved(tmp_path / "ships")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"ships: reading it needs the library datasets: pip install 'tunny\[hub\]'"):
        Reading(folder, "classify")


def test_the_digest_is_that_of_rows_and_classes(tmp_path):
    first = hub.digest(saved(tmp_path / "a"))
    assert hub.digest(saved(tmp_path / "b")) == first
    assert hub.digest(saved(tmp_path / "c", ROWS | {"label": [1, 1, 1]})) != first
    renamed = Features({**FEATURES, "label": ClassLabel(names=["poor", "good"])})
    assert hub.digest(saved(tmp_path / "d", ROWS, renamed)) != first


def test_a_saved_data_set_is_prepared(tmp_path):
    folder = saved(tmp_path / "ships")
    dataset = read_splits({"train": [str(folder)]}, {"train": DataSettings()}, "classify")
    assert dataset.labels.names == ("bad", "good")
    assert dataset.splits["train"].files == {str(folder): hub.digest(folder)}


# -- a hub on loopback -------------------------------------------------------------------------------------------------

COMMIT = "1" * 40
READ = """
import sys
from tests.data.reading import Reading
for example in Reading(sys.argv[1], "classify"):
    print(example.id, example.text, *example.labels)
"""


class Hub(BaseHTTPRequestHandler):
    """What the library datasets asks of a hub, for one data set whose files stand in its top folder."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self):
        path = self.path.split("?")[0]
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append(path)
        listed = [
            {"type": "file", "path": name, "size": len(raw), "oid": hashlib.sha1(raw).hexdigest()} for name, raw in self.files.items()
        ]
        if path.startswith("/datasets/owner/ships/resolve/"):
            raw = self.files.get(path.rpartition("/")[2])
            return self.answer(404, {}, "EntryNotFound") if raw is None else self.answer(200, raw)
        if path.startswith(f"/api/datasets/owner/ships/tree/{COMMIT}"):
            return self.answer(200, listed) if path.endswith(COMMIT) else self.answer(404, {}, "EntryNotFound")
        if path.startswith("/api/datasets/owner/ships"):
            siblings = [{"rfilename": name} for name in self.files]
            return self.answer(200, {"id": "owner/ships", "sha": COMMIT, "private": False, "tags": [], "siblings": siblings})
        return self.answer(404, {}, "RepoNotFound")

    def answer(self, code, content, error=None):
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("ETag", f'"{hashlib.sha256(raw).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    packed = io.BytesIO()
    Dataset.from_dict(ROWS, features=FEATURES).to_parquet(packed)
    Hub.files, Hub.asked = {"train.parquet": packed.getvalue(), "test.parquet": packed.getvalue()}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def reading_apart(name, home, address, offline):
    """Read in a process of its own: the library takes its settings from the environment when it is imported."""
    own = {
        "HF_HOME": str(home),
        "HF_ENDPOINT": address,
        "HF_HUB_OFFLINE": offline,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", READ, name]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **own}, check=False)


EXPECTED = "ships#train:1 fair wind good\nships#train:2 rough sea bad\nships#train:3 calm good\n"


@pytest.mark.slow
def test_a_split_is_fetched_once_and_then_read_without_network(tmp_path, address):
    fetched = reading_apart("hub:owner/ships#train", tmp_path, address, "0")
    assert fetched.stdout == EXPECTED, fetched.stderr
    assert any(path.endswith("train.parquet") for path in Hub.asked)
    Hub.asked.clear()
    cached = reading_apart("hub:owner/ships#train", tmp_path, address, "1")
    assert cached.stdout == EXPECTED, cached.stderr
    assert Hub.asked == []


@pytest.mark.slow
def test_what_the_hub_does_not_have_is_named(tmp_path, address):
    several = reading_apart("hub:owner/ships", tmp_path, address, "0").stderr
    assert "DataError: hub:owner/ships: holds 2 splits. Name one of them: hub:owner/ships#train, hub:owner/ships#test" in several
    split = reading_apart("hub:owner/ships#tset", tmp_path, address, "0").stderr
    assert 'DataError: hub:owner/ships#tset: cannot be loaded as a data set: Unknown split "tset"' in split
    missing = reading_apart("hub:owner/boats", tmp_path, address, "0").stderr
    assert "DataError: hub:owner/boats: cannot be loaded as a data set: Dataset 'owner/boats' doesn't exist on the Hub" in missing
