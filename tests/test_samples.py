"""The sample data and the demo's configs: sound, varied, and good enough to learn from."""

import re
import subprocess
import sys
import venv
from collections import Counter

import pytest

import tunny
from tests.conftest import ROOT
from tunny.config import load_config
from tunny.data.audit import Audit
from tunny.data.read import read
from tunny.data.settings import DataSettings

SAMPLES = ROOT / "src" / "tunny" / "samples"
SPLITS = ("train", "validation", "test")


def examples(name: str, kind: str):
    audit = Audit()
    ending = "json" if kind == "ner" else "csv"
    found = {split: list(read([str(SAMPLES / name / f"{split}.{ending}")], DataSettings(), kind, audit)) for split in SPLITS}
    return found, audit


def test_the_harbour_news_is_large_varied_and_has_long_documents():
    found, audit = examples("harbour", "ner")
    texts = [example.text for split in found.values() for example in split]
    sentences = [sentence for text in texts for sentence in re.split(r"(?<=[.!?])\s+", text) if len(sentence.split()) > 2]
    labels = Counter(span.label for split in found.values() for example in split for span in example.spans)
    assert len(set(sentences)) >= 400
    assert len(labels) >= 5
    assert sum(len(text.split()) > 500 for text in texts) >= 4
    assert not audit.events


def test_the_ferry_messages_are_many_and_distinct():
    found, audit = examples("ferry", "classify")
    texts = [example.text.casefold() for split in found.values() for example in split]
    labels = Counter(example.labels for split in found.values() for example in split)
    assert len(texts) == len(set(texts)) >= 400
    assert len(labels) >= 4
    assert max(labels.values()) < 1.2 * min(labels.values())
    assert not audit.events


@pytest.mark.parametrize("name", ["harbour", "ferry"])
def test_no_text_stands_in_two_splits(name):
    found, _ = examples(name, "ner" if name == "harbour" else "classify")
    texts = [{example.text for example in split} for split in found.values()]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]


def test_the_classifier_of_the_demo_learns(tmp_path):
    resolved = load_config(SAMPLES / "ferry.yaml", [("output_dir", str(tmp_path / "run")), ("train.epochs", "3")])
    folder = tunny.train(resolved.settings)
    metrics = tunny.evaluate(folder / "model", SAMPLES / "ferry" / "test.csv", tmp_path / "scores")
    assert metrics["macro_f1"] > 0.6  # chance is 0.2


@pytest.mark.slow
def test_the_wheel_alone_runs_the_demo_in_a_new_environment(tmp_path):
    wheels = tmp_path / "wheels"
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("tunny-*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    subprocess.run([*install, "torch==2.13.0"], check=True)
    subprocess.run([*install, f"{wheel}[embedded]"], check=True)
    where = subprocess.run(
        [python, "-c", "import tunny, pathlib; print(pathlib.Path(tunny.__file__).parent / 'samples')"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert str(tmp_path) in where
    for name in ("ferry", "harbour"):
        command = [tmp_path / "env" / "bin" / "tunny", "train", f"{where}/{name}.yaml", "--train.epochs", "1"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "runs" / name / "test" / "report.md").is_file()
