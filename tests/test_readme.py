"""The README's commands, run as they stand."""

import json
import re
import shlex
import shutil
import subprocess

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def block(language: str, holding: str) -> str:
    found = [text for kind, text in re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL) if kind == language and holding in text]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with the README's config and a little data of its kind."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "config.yaml").write_text(block("yaml", "task: ner"), "utf-8")
    row = json.dumps({"text": "The Morning Star landed turbot in Lerwick.", "spans": [{"start": 4, "end": 16, "label": "VESSEL"}]})
    for number, name in enumerate(("train", "dev", "test"), start=1):
        (folder / f"{name}.jsonl").write_text(f"{row}\n" * 4 * number, "utf-8")
    value = {"start": 4, "end": 16, "text": "Morning Star", "labels": ["VESSEL"]}
    region = {"id": "r", "type": "labels", "from_name": "label", "to_name": "text", "value": value}
    tasks = [
        {"id": number, "data": {"text": f"The Morning Star, {number}.", "doc_id": f"d{number}"}, "annotations": [{"result": [region]}]}
        for number in range(6)
    ]
    (folder / "export.json").write_text(json.dumps(tasks), "utf-8")
    (folder / "texts.txt").write_text("The Morning Star is back.\nNobody saw her leave.\n", "utf-8")
    return folder


def test_the_targets_of_make_exist():
    targets = re.findall(r"^make (\w+)", block("bash", "make install"), re.MULTILINE)
    assert targets == ["install", "demo"]
    for target in targets:
        assert subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_the_commands_run_in_order(project, tunny):
    lines = [line for line in (shlex.split(line, comments=True) for line in block("", "tunny train config.yaml").splitlines()) if line]
    names = ["init", "check", "split", "convert", "train", "train", "train", "train", "distill", "predict", "evaluate", "compare"]
    assert [line[:2] for line in lines] == [["tunny", name] for name in names]
    for line in lines:
        done = tunny(*line[1:], cwd=project)
        assert done.returncode == 0, done.stderr
    assert len((project / "predictions.jsonl").read_text("utf-8").splitlines()) == 2
    assert "f1" in json.loads((project / "scores" / "metrics.json").read_text("utf-8"))["metrics"]


def test_the_python_runs(project, monkeypatch):
    shutil.rmtree(project / "runs", ignore_errors=True)
    monkeypatch.chdir(project)
    names: dict = {}
    exec(block("python", "import tunny"), names)
    (prediction,) = names["model"].predict(["The Morning Star landed turbot in Lerwick."])
    assert set(prediction) == {"id", "text", "spans"}


def test_it_says_that_there_is_no_telemetry():
    assert "No telemetry" in README
