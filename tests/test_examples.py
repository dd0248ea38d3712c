"""The worked examples of users' own tasks, each trained on small data by a tiny model, as their head lines say."""

import csv
import json
import random
import shutil
import sys
from itertools import pairwise, product
from pathlib import Path

import pytest
import torch

import tunny
from tests.training.runs import write_ner, write_texts
from tunny.cli import main

EXAMPLES = Path(__file__).parent.parent / "examples" / "own"
TAGS = ["O", "B-PER", "I-PER", "B-LOC"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the examples in it."""
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in {file.stem for file in EXAMPLES.iterdir()} & (set(sys.modules) - before):
        del sys.modules[name]


def trained(kind, encoder, train, validation, *, epochs=25, **task):
    folder = tunny.train(
        {
            "task": {"kind": kind, **({"encoder": str(encoder)} if encoder else {}), **task}, "output_dir": "run",
            "data": {"train": train, "validation": validation}, "train": {"epochs": epochs, "learning_rate": 0.003},
        }
    )  # fmt: skip
    return json.loads((folder / "validation/metrics.json").read_text("utf-8"))["metrics"]


def to_csv(path, source):
    """Write a file of a word a line as the columns sentence, word and tag."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence", "word", "tag"])
        for number, block in enumerate(source.read_text("utf-8").split("\n\n")):
            writer.writerows([number, *line.split(" ")] for line in block.splitlines())


def test_entities_with_running_metrics(here, tiny_bert, capsys):
    for name, count, start in (("train", 60, 0), ("validation", 20, 60)):
        to_csv(here / f"{name}.csv", write_ner(here / "words.txt", count, start))
    flags = [
        "--task.encoder",
        str(tiny_bert),
        "--task.tags",
        f"[{', '.join(TAGS)}]",
        "--train.epochs",
        "30",
        "--train.learning_rate",
        "0.005",
    ]
    with pytest.raises(SystemExit, match="0"):
        main(["train", "ner_running_metrics.yaml", *flags, "--track", "[]"])
    said = capsys.readouterr().out
    running = [float(line.rsplit(" ", 1)[1]) for line in said.splitlines() if "while learning: macro_f1" in line]
    assert len(running) == 30
    assert running[-1] > running[0]
    scores = json.loads((here / "runs/ner-running-metrics/validation/metrics.json").read_text())["metrics"]
    assert scores["accuracy"] > 0.8
    assert (here / "runs/ner-running-metrics/model/tokenizer.json").exists()


@pytest.mark.parametrize("name", ["RTE", "STS-B"])
def test_the_glue_recipe_learns_classes_and_scores_and_answers_without_labels(here, tiny_bert, name):
    draw = random.Random(1)
    label = "score" if name == "STS-B" else "label"
    for part, count in (("train", 48), ("dev", 16), ("test", 8)):
        with (here / f"{part}.tsv").open("w", encoding="utf-8") as file:
            file.write("index\tsentence1\tsentence2" + ("" if part == "test" else f"\t{label}") + "\n")
            for number in range(count):
                same = draw.random() < 0.5
                gold = (5.0 if same else 0.0) if name == "STS-B" else "entailment" if same else "not_entailment"
                second = "calm sea" if same else "rough seas and no ferry"
                file.write(f'{number}\tthe "sea" was calm\t{second}' + ("" if part == "test" else f"\t{gold}") + "\n")
    scores = trained("glue_recipe:Glue", tiny_bert, "train.tsv", "dev.tsv", name=name)
    assert scores["score"] > 0.9
    assert tunny.predict("run/model", "test.tsv", "found.jsonl", task="glue_recipe:Glue") == 8


def test_two_things_are_learnt_by_one_encoder_with_rates_of_their_own(here, tiny_bert):
    for name, count, start in (("train", 60, 0), ("dev", 20, 60)):
        write_texts(here / "texts.csv", count, start)
        with (here / "texts.csv").open(encoding="utf-8") as source, (here / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(source)):
                known = {"minutes": 2.0 if row["label"] == "rough" else 0.0} if number % 3 else {}
                file.write(json.dumps({"text": row["text"], **known, **({"label": row["label"]} if number % 4 else {})}) + "\n")
    scores = trained(
        "multi_task:Both", tiny_bert, "train.jsonl", "dev.jsonl", labels=["calm", "rough"], head_rate=0.01, encoder_rate=0.003, weight=1.0
    )
    assert scores["accuracy"] > 0.85
    assert scores["minutes_mse"] < 0.7


def test_a_crf_learns_tags(here, tiny_bert):
    for name, count, start in (("train", 60, 0), ("dev", 20, 60)):
        text = write_ner(here / "words.txt", count, start).read_text("utf-8")
        (here / f"{name}.conll").write_text(text.replace(" ", "\t"), "utf-8")
    assert trained("crf_tagger:CrfTagger", tiny_bert, "train.conll", "dev.conll", tags=TAGS, epochs=6)["f1"] > 0.5


def test_the_losses_and_paths_of_the_crf_are_those_of_counting_all_paths(here):
    from crf_tagger import Crf

    torch.manual_seed(1)
    crf = Crf(torch.nn.Identity(), 4, 3)
    for part in (crf.start, crf.moves, crf.end):
        part.data.normal_()
        part.requires_grad_(False)
    scores, sizes = torch.randn(2, 4, 3), [4, 2]
    words = torch.tensor([[True] * 4, [True, True, False, False]])
    gold = torch.tensor([[0, 2, 1, 1], [2, 0, 0, 0]])

    def of(row, path):
        total = crf.start[path[0]] + crf.end[path[-1]] + sum(scores[row, at, tag] for at, tag in enumerate(path))
        return float(total + sum(crf.moves[one, other] for one, other in pairwise(path)))

    expected, best = 0.0, []
    for row, size in enumerate(sizes):
        paths = list(product(range(3), repeat=size))
        expected += float(torch.logsumexp(torch.tensor([of(row, path) for path in paths]), 0)) - of(row, gold[row, :size].tolist())
        best.append(list(max(paths, key=lambda path, row=row: of(row, path))))
    assert float(crf.loss(scores, gold, words).detach()) == pytest.approx(expected, rel=1e-5)
    assert crf.best(scores, words) == best


def test_the_focal_loss_learns_labels_and_is_cross_entropy_at_gamma_0(here, tiny_bert):
    for name, count, start in (("train", 60, 0), ("dev", 20, 60)):
        write_texts(here / f"{name}.csv", count, start)
    assert trained("focal_loss:Focal", tiny_bert, "train.csv", "dev.csv", labels=["calm", "rough"])["macro_f1"] > 0.7

    from focal_loss import Focal

    task = Focal(Focal.Settings(labels=["calm", "rough"], gamma=0.0, encoder=str(tiny_bert)))
    model, batch = task.model().eval(), task.batch(list(task.read("dev.csv"))[:4])
    entropy = torch.nn.functional.cross_entropy(model(**batch["inputs"]).logits, batch["labels"], reduction="sum")
    assert task.train_step(model, batch).item() == pytest.approx(entropy.item(), rel=1e-5)


def test_pictures_are_told_apart_in_sixty_lines(here):
    draw = random.Random(1)
    for part, count in (("train", 30), ("test", 10)):
        for name in ("bars", "rows"):
            folder = here / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                stripes = [draw.randrange(256) for _ in range(8)]
                pixels = [stripes[x] if name == "bars" else stripes[y] for y in range(8) for x in range(8)]
                (folder / f"{number}.pgm").write_bytes(b"P5\n8 8\n255\n" + bytes(pixels))
    assert trained("images:Images", None, "train/*/*.pgm", "test/*/*.pgm", classes=["bars", "rows"], epochs=60)["accuracy"] > 0.9
    assert len((EXAMPLES / "images.py").read_text("utf-8").splitlines()) < 60
