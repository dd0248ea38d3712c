"""docs/coming-from.md: every block of the page, run as it stands, section by section, with small files of the names that it uses."""

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path

import datasets
import pytest
import transformers

from tests.conftest import ROOT
from tests.mlflow_server import running
from tests.tiny import make_model, make_tokenizer, tokenizer_kind
from tests.trained import ner_sentences, rows

PAGE = (ROOT / "docs" / "coming-from.md").read_text("utf-8")
SLOW = ("launch", "torch.distributed.run", "tensorboard --", "MLFLOW_")  # what is in a block that needs servers or several processes
MULTINERD = ["O", *(f"{side}-{name}" for name in ("PER", "ORG", "LOC", "ANIM", "BIO", "CEL", "DIS") for side in "BI")]  # its first ids


def blocks(section: str) -> list[tuple[str, str]]:
    """The fenced blocks below a heading: language and text."""
    (body,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return re.findall(r"^```(\w+)\n(.*?)^```", body, re.DOTALL | re.MULTILINE)


def is_slow(text: str) -> bool:
    return any(word in text for word in SLOW)


# -- data of the names on the page ---------------------------------------------------------------------------------------


def save(family: str, folder: Path, **changes: int) -> None:
    """A tiny random model under the name of a large one, with as many positions."""
    tokenizer = make_tokenizer(tokenizer_kind(family))
    config = make_model(family, len(tokenizer)).config
    config.update({"max_position_embeddings": 514, **changes})
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding)


def table(path: Path, *lines: list[str], delimiter: str = "\t", encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(lines)


def tokens(path: Path, sentences: list, tags: str = "ner_tags") -> None:
    write(path, "".join(json.dumps({"tokens": [w for w, _ in each], tags: [t for _, t in each]}) + "\n" for each in sentences))


def words(path: Path, sentences: list, between: str = " ") -> None:
    write(path, "\n".join("".join(f"{word}{between}{tag}\n" for word, tag in each) for each in sentences))


def own(folder: Path, name: str) -> None:
    """An example of a task of one's own, copied where it is started."""
    for ending in ("py", "yaml"):
        shutil.copy(ROOT / "examples" / "own" / f"{name}.{ending}", folder)


def pymarlin(folder: Path) -> None:
    save("bert", folder / "bert-base-uncased")
    own(folder, "ner_running_metrics")
    named = [[(word, tag.replace("PER", "person").replace("LOC", "place")) for word, tag in each] for each in ner_sentences()]
    for name, part in (("train", named[:45]), ("validation", named[45:])):
        lines = [[str(at), word, tag] for at, each in enumerate(part) for word, tag in each]
        table(folder / f"{name}.csv", ["sentence", "word", "tag"], *lines, delimiter=",")
    lines = [
        [f"Sentence: {at}" if first == 0 else "", word, "NN", tag]
        for at, each in enumerate(ner_sentences(), 1)
        for first, (word, tag) in enumerate(each)
    ]
    table(folder / "ner_dataset.csv", ["Sentence #", "Word", "POS", "Tag"], *lines, delimiter=",")
    write(folder / "sentences.txt", "one two three four five six\none two three four five six seven\none two\n")


def glue(folder: Path) -> None:
    save("bert", folder / "bert-base-uncased")
    own(folder, "glue_recipe")
    _, made = rows("pair")
    lines = [
        [str(at), first, second, "entailment" if verdict == "yes" else "not_entailment"] for at, (first, second, verdict) in enumerate(made)
    ]
    head = ["index", "sentence1", "sentence2", "label"]
    table(folder / "RTE/train.tsv", head, *lines[:32])
    table(folder / "RTE/dev.tsv", head, *lines[32:])
    table(folder / "RTE/test.tsv", head[:3], *(line[:3] for line in lines[32:]))


def plugins(folder: Path) -> None:
    save("roberta", folder / "roberta-base", num_hidden_layers=12)
    save("distilbert", folder / "distilbert-base-uncased")
    save("bert", folder / "bert-base-multilingual-cased")
    names = ("Extremely Negative", "Negative", "Neutral", "Positive", "Extremely Positive")
    lines = [[str(at), "Göteborg", f"{text} £{at}", names[at % 5]] for at, (text, _) in enumerate(rows("classify")[1])]
    for name, part in (("train", lines[:40]), ("test", lines[40:])):
        head = ["UserName", "Location", "OriginalTweet", "Sentiment"]
        table(folder / f"raw_data/Corona_NLP_{name}.csv", head, *part, delimiter=",", encoding="latin-1")
    sentences = [[" ".join(word for word, _ in each), " ".join(tag for _, tag in each)] for each in ner_sentences()]
    table(folder / "germ/train.tsv", ["Sentence", "Slot"], *sentences[:45])
    table(folder / "germ/dev.tsv", ["Sentence", "Slot"], *sentences[45:])


def scripts(folder: Path) -> None:
    save("bert", folder / "bert-base-uncased")
    save("bert", folder / "bert-base-cased")
    sentences = ner_sentences()
    names = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.ClassLabel(names=names))}
    )
    parts = {"train": sentences[:40], "validation": sentences[40:50], "test": sentences[50:]}
    datasets.DatasetDict(
        {
            name: datasets.Dataset.from_list(
                [{"tokens": [w for w, _ in each], "ner_tags": [t for _, t in each]} for each in part], features
            )
            for name, part in parts.items()
        }
    ).save_to_disk(folder / "conll2003")
    head, pairs = ["sentence1", "sentence2", "label"], rows("pair")[1]
    table(folder / "pairs.csv", head, *pairs[:32], delimiter=",")
    table(folder / "pairs-dev.csv", head, *pairs[32:], delimiter=",")
    tokens(folder / "train.json", parts["train"])
    tokens(folder / "dev.json", parts["validation"])
    tokens(folder / "other.json", [[(word, tag.replace("PER", "NAME")) for word, tag in each if "LOC" not in tag] for each in sentences])


def metaextractor(folder: Path) -> None:
    save("roberta", folder / "roberta-base")
    text = "Pollen of (Pinus sylvestris) from Loch Lomond, dated 9,000 BP."
    for at in range(20):
        value = {"start": 11, "end": 27, "text": "Pinus sylvestris", "labels": ["TAXA"]}
        site = {"start": 34, "end": 45, "text": "Loch Lomond", "labels": ["SITE"]}
        result = [{"value": one, "from_name": "label", "to_name": "text", "type": "labels"} for one in (value, site)]
        data = {"gdd_id": f"article-{at // 2}", "text": f"{text} Sample {at}."}
        write(folder / f"labels/{at}.txt", json.dumps({"task": {"data": data}, "result": result}))


def multinerd(folder: Path) -> None:
    save("distilbert", folder / "distilbert-base-uncased")
    sick = [[("Nobody", "B-PER"), ("had", "O"), ("measles", "B-DIS"), ("or", "O"), ("yellow", "B-DIS"), ("fever", "I-DIS")]]
    sky = [[("Over", "O"), ("Bergen", "B-LOC"), ("stood", "O"), ("Orion", "B-CEL")]]
    for name, part in {"train": ner_sentences() * 3 + sick * 2, "validation": ner_sentences()[:20], "test": ner_sentences()[20:40]}.items():
        made = [{"tokens": [w for w, _ in each], "ner_tags": [MULTINERD.index(t) for _, t in each]} for each in [*sick, *sky, *part]]
        german = [{"tokens": ["Nein"], "ner_tags": [0], "lang": "de"}]
        data = datasets.Dataset.from_list([{**row, "lang": "en"} for row in made] + german)
        data.save_to_disk(folder / "multinerd" / name)


def spacy(folder: Path) -> None:
    save("bert", folder / "bert-base-uncased")
    line = {
        "text": "Marie Curie worked in Paris.",
        "spans": [{"start": 0, "end": 11, "label": "PER"}, {"start": 22, "end": 27, "label": "LOC"}],
    }
    for name, number in (("train", 40), ("dev", 8)):
        write(
            folder / f"{name}.jsonl", "".join(json.dumps({**line, "text": f"{line['text']} It was {at}."}) + "\n" for at in range(number))
        )


def flair(folder: Path) -> None:
    save("xlm-roberta", folder / "xlm-roberta-base")
    words(folder / "corpus/train.txt", ner_sentences()[:45])
    words(folder / "corpus/dev.txt", ner_sentences()[45:])


DATA: dict[str, Callable[[Path], None]] = {
    "PyMarlin": pymarlin,
    "PyMarlin: GLUE": glue,
    "PyMarlin: plugins": plugins,
    "run_ner.py and run_glue.py": scripts,
    "MetaExtractor": metaextractor,
    "The MultiNERD script": multinerd,
    "spaCy": spacy,
    "Flair": flair,
}


# -- running the page ----------------------------------------------------------------------------------------------------


class Section:
    """A section of the page, its quick blocks run in a folder of its own."""

    def __init__(self, name: str, folder: Path):
        self.name, self.folder, self.printed = name, folder, ""
        DATA[name](folder)
        for language, text in blocks(name):
            if not is_slow(text):
                self.run(language, text)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "TUNNY_CACHE": str(self.folder / ".cache")}

    def run(self, language: str, text: str, **environment: str) -> str:
        """Run a block, and return what it printed; a named file is written, and one of Python prints what its comments say."""
        named = re.match(r"# (\w+\.(?:yaml|py))[;\n]", text)
        assert language in ("bash", "yaml", "python")
        assert (language == "bash") == (named is None), text
        if named:
            write(self.folder / named[1], text)
        if language == "yaml":
            return ""
        command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, named[1]]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment | environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        if language == "python":
            wanted = re.findall(r"^ *print\(.*\)  # (.*)$", text, re.MULTILINE)
            assert not wanted or done.stdout.splitlines() == wanted
        self.printed += done.stdout + done.stderr
        return done.stdout + done.stderr

    def run_slow(self, holding: str, **environment: str) -> str:
        """Run the block of this section that holds something."""
        (block,) = [(language, text) for language, text in blocks(self.name) if holding in text and is_slow(text)]
        return self.run(*block, **environment)

    def json(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text("utf-8"))

    def log(self, run: str) -> list[dict]:
        return [json.loads(line) for line in (self.folder / run / "log.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Give a section of the page whose quick blocks have run."""
    return cache(lambda name: Section(name, tmp_path_factory.mktemp("coming")))


def test_every_section_with_commands_is_run():
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert [name for name in headings if blocks(name)] == list(DATA)


def test_pymarlin(ran):
    page = ran("PyMarlin")
    assert re.search(r"^step 4/4  epoch 2\.00  .*validation/f1 ", page.printed, re.MULTILINE)  # of the first run: 52 rows by 32 twice
    assert [line["step"] for line in page.log("runs/ner")] == [4]  # of the second: by 16 once
    assert any((page.folder / "runs/ner/tensorboard").iterdir())
    running = re.findall(r"^epoch (\d), while learning: macro_f1 [\d.]+  accuracy [\d.]+$", page.printed, re.MULTILINE)
    assert running == ["1", "2"]
    assert {"validation/macro_f1", "validation/accuracy"} <= set(page.log("runs/ner-running-metrics")[-1])


def test_metaextractor(ran):
    page = ran("MetaExtractor")
    articles = {name: set(part["ids"]) for name, part in page.json("split/split.json")["splits"].items()}
    assert [len(found) for found in articles.values()] == [7, 2, 1]
    assert not articles["train"] & articles["validation"] | articles["test"] & (articles["train"] | articles["validation"])
    found = page.json("evaluation-results/roberta-base-v1_test_classification_results.json")
    assert set(found) == {"token", "entity", "overall_results", "overall_results_by_tag", "num_tokens", "entity_counts"}
    assert found["entity_counts"] == {"O": 30, "SITE": 4, "TAXA": 4}
    plots = {path.name for path in (page.folder / "evaluation-results").glob("*.svg")}
    assert plots == {
        f"roberta-base-v1_test_{name}.svg" for name in ("token_classification_report", "entity_classification_report", "confusion_matrix")
    }


@pytest.mark.slow
def test_multinerd(ran):
    page, run = ran("The MultiNERD script"), "distilbert-base-uncased-finetuned-ner-my_experiment"
    splits = page.json(f"{run}/audit.json")["splits"]
    assert {name: split["flows"]["examples"]["kept"] for name, split in splits.items()} == {"train": 100, "validation": 22, "test": 22}
    assert page.json(f"{run}/model/config.json")["id2label"]["10"] == "I-DIS"
    assert (page.folder / run / "model/tokenizer.json").is_file()
    entities = [line["per_label"]["validation"] for line in page.log(run) if "per_label" in line]
    assert len(entities) == 6
    assert entities[0]["DIS"]["support"] == 2
    assert any((page.folder / run / "tensorboard").iterdir())


@pytest.mark.slow
def test_flair(ran):
    page = ran("Flair")
    assert page.log("resources/taggers/ner")[-1]["step"] == 24  # 45 rows by 4, twice
    (answer,) = [json.loads(line) for line in page.printed.splitlines() if line.startswith('{"id"')]
    assert answer["text"] == "George Washington went to Washington."


@pytest.mark.slow
def test_glue(ran):
    page = ran("PyMarlin: GLUE")
    assert page.printed.count("train: encoded data found in the cache, nothing to tokenise") == 1
    assert page.json("training_output/validation/metrics.json")["metrics"] == page.json("inference_output/metrics.json")["metrics"]
    predicted = [json.loads(line) for line in (page.folder / "inference_output/test.jsonl").read_text("utf-8").splitlines()]
    assert len(predicted) == 16
    assert {row["label"] for row in predicted} <= {"entailment", "not_entailment"}
    answers = (page.folder / "inference_output/recipe.jsonl").read_text("utf-8").splitlines()
    assert len(answers) == 16
    assert set(map(json.loads, answers)) <= {"entailment", "not_entailment"}


@pytest.mark.slow
def test_plugins(ran):
    page = ran("PyMarlin: plugins")
    assert "sp is called engine.strategy: single with engine.precision: fp32 here" in page.printed
    assert page.json("runs/tweets/model/config.json")["id2label"]["4"] == "Extremely Positive"
    assert "£" in (page.folder / "runs/tweets-test/predictions.jsonl").read_text("utf-8")
    assert "weighted_f1" in page.json("runs/tweets-test/metrics.json")["metrics"]
    assert page.json("runs/germ/validation/metrics.json")["examples"] == 15
    assert page.json("runs/three-layers/model/config.json")["num_hidden_layers"] == 3
    assert page.json("runs/distilbert/model/config.json")["model_type"] == "distilbert"


@pytest.mark.slow
def test_scripts(ran):
    page = ran("run_ner.py and run_glue.py")
    for run in ("test-ner", "own"):
        assert page.json(f"out/{run}/all_results.json")["eval_samples"] == 10
    assert {"eval_accuracy", "eval_loss", "eval_samples", "train_loss"} <= set(page.json("out/pairs/all_results.json"))
    assert page.json("out/test-ner/config.json")["id2label"]["8"] == "I-MISC"
    assert len(page.json("out/own/config.json")["id2label"]) == 4
    assert set(page.json("out/other/config.json")["id2label"].values()) == {"B-NAME", "I-NAME", "O"}
    assert page.json("out/ner/trainer_state.json")["global_step"] == 6  # 40 rows by 32, three times


@pytest.mark.slow
def test_spacy(ran):
    page = ran("spaCy")
    assert page.json("out-dev/metrics.json")["metrics"] == page.json("out/validation/metrics.json")["metrics"]
    assert page.json("check/audit.json")


# -- servers and several processes ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_glue_in_two_processes_is_as_in_one(ran):
    page = ran("PyMarlin: GLUE")
    assert "strategy: ddp (2 processes)" in page.run_slow("tunny launch")
    losses = [[line["train/loss"] for line in page.log(run)] for run in ("training_output", "two_processes")]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)  # other dropout, as there are two micro-batches


@pytest.mark.slow
def test_plugins_under_the_launcher_of_torch(ran):
    page = ran("PyMarlin: plugins")
    assert "strategy: ddp (2 processes)" in page.run_slow("torch.distributed.run")
    assert page.json("runs/ddp/manifest.json")["finished"]


@pytest.mark.slow
def test_scripts_under_accelerate(ran):
    page = ran("run_ner.py and run_glue.py")
    said = page.run_slow("accelerate launch")
    assert "strategy: ddp (2 processes)" in said
    assert said.count("arguments: those of run_ner_no_trainer.py") == said.count("train: 40 examples") == 1  # one speaks for all
    assert page.json("out/two/trainer_state.json")["global_step"] == 3  # 40 rows by 32 on each of two
    assert page.json("out/two/all_results.json")["eval_samples"] == 10


@pytest.mark.slow
def test_tensorboard_shows_what_is_promised(ran):
    page = ran("PyMarlin: plugins")
    ((_, text),) = [block for block in blocks(page.name) if "tensorboard --" in block[1]]
    with (page.folder / "tensorboard.log").open("w+", encoding="utf-8") as log:
        server = subprocess.Popen([*text.split(), "--port", "0"], cwd=page.folder, env=page.environment, stderr=log)
        try:
            address = waited(lambda: re.search(r"http://\S+", (page.folder / "tensorboard.log").read_text("utf-8")))[0]
            tags = waited(lambda: read(f"{address}data/plugin/scalars/tags").get("tweets/tensorboard"))
        finally:
            server.terminate()
            server.wait()
    assert {"train/loss", "train/learning_rate", "validation/weighted_f1"} <= set(tags)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # MLflow's own
def test_mlflow_gets_metrics_and_no_weights(ran, tmp_path):
    from mlflow.tracking import MlflowClient

    page = ran("MetaExtractor")
    with running(tmp_path) as server:
        page.run_slow("TUNNY__TRACK", MLFLOW_TRACKING_URI=server.address)
        client = MlflowClient(server.address)
        (run,) = client.search_runs([client.get_experiment_by_name("fossils").experiment_id])
        files = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert run.data.metrics["final/test/f1"] == page.json("models/tracked/test/metrics.json")["metrics"]["f1"]
    assert "config.yaml" in files
    assert not [name for name in files if "model" in name]


def read(address: str) -> dict:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer)


def waited(ask: Callable):
    """Ask until there is an answer."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if found := ask():
                return found
        time.sleep(0.3)
    raise AssertionError("no answer in 60 seconds")
