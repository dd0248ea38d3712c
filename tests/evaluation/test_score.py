import csv
import json
from pathlib import Path

import pytest

import tunny
from tests.tiny import save_model
from tests.trained import KINDS, config, train_once, trained

FIELDS = {
    "ner": {"id", "text", "spans"},
    "pos": {"id", "text", "words", "tags"},
    "classify": {"id", "text", "label", "score"},
    "pair": {"id", "text", "text_b", "label", "score"},
    "regress": {"id", "text", "value"},
    "multilabel": {"id", "text", "labels"},
}
BEST = {"pos": "token_accuracy", "classify": "macro_f1", "pair": "macro_f1", "regress": "pearson"}


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("kind", "precision"), [*((kind, "fp32") for kind in KINDS), ("ner", "bf16"), ("pair", "bf16"), ("regress", "bf16")]
)
def test_evaluating_the_saved_model_gives_the_validation_metrics_of_the_run_exactly(tmp_path, kind, precision):
    run = trained(kind, precision)
    found = tunny.evaluate(run.model, run.validation, tmp_path / "out")
    assert found == run.metrics()["metrics"]
    again, first = (json.loads((folder / "metrics.json").read_text("utf-8")) for folder in (tmp_path / "out", run.folder / "validation"))
    assert again["per_label"] == first["per_label"]
    assert lines(tmp_path / "out" / "predictions.jsonl") == lines(run.folder / "validation" / "predictions.jsonl")


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_epoch_in_the_log_has_the_metrics_of_the_saved_model(kind):
    run = trained(kind)
    step = json.loads((run.folder / "manifest.json").read_text("utf-8"))["best_step"]
    [best] = [line for line in lines(run.folder / "log.jsonl") if line["step"] == step]
    assert {name: best[f"validation/{name}"] for name in run.metrics()["metrics"]} == run.metrics()["metrics"]
    name = f"validation/{BEST.get(kind, 'f1')}"
    assert best[name] == max(line[name] for line in lines(run.folder / "log.jsonl") if name in line)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_in_input_order_with_the_fields_of_the_contract(kind):
    run = trained(kind)
    found = lines(run.folder / "validation" / "predictions.jsonl")
    assert all(set(line) == FIELDS[kind] for line in found)
    if kind in ("ner", "pos"):
        blocks = run.validation.read_text("utf-8").strip().split("\n\n")
        assert [line["text"].split() for line in found] == [[row.split("\t")[0] for row in block.split("\n")] for block in blocks]
    else:
        with run.validation.open(encoding="utf-8", newline="") as file:
            assert [line["text"] for line in found] == [row[0] for row in list(csv.reader(file))[1:]]


def test_an_evaluation_folder_holds_the_files_of_the_contract(tmp_path):
    run = trained("ner")
    tunny.evaluate(run.model, run.validation, tmp_path / "deep" / "out")
    assert {path.name for path in (tmp_path / "deep" / "out").iterdir()} == {
        "metrics.json", "predictions.jsonl", "gold.jsonl", "report.md", "report.html", "plots",
    }  # fmt: skip
    content = json.loads((tmp_path / "deep" / "out" / "metrics.json").read_text("utf-8"))
    assert set(content) >= {"task", "model", "data", "examples", "metrics", "intervals", "per_label", "speed", "audit"}
    assert set(content["metrics"]) == {"f1", "precision", "recall", "token_f1", "token_accuracy", "loss"}
    assert content["examples"] == 15


def test_the_f1_of_a_run_is_that_of_seqeval_on_its_predictions(tmp_path):
    from seqeval.metrics import f1_score

    run = trained("ner", epochs=4)
    tunny.predict(run.model, run.validation, tmp_path / "p.conll")

    def tags(path):
        return [[row.split("\t")[1] for row in block.split("\n")] for block in path.read_text("utf-8").strip().split("\n\n")]

    assert run.metrics()["metrics"]["f1"] == pytest.approx(f1_score(tags(run.validation), tags(tmp_path / "p.conll")))


@pytest.mark.parametrize("kind", ["classify", "ner"])
def test_gold_labels_the_model_does_not_know_are_named_and_counted_as_errors(tmp_path, kind, capsys):
    run = trained(kind)
    text = run.validation.read_text("utf-8")
    changed = tmp_path / run.validation.name
    changed.write_text(text.replace("LOC", "SHIP") if kind == "ner" else text.replace(",sea", ",new").replace(",land", ",new"), "utf-8")
    found = tunny.evaluate(run.model, changed, tmp_path / "out")
    assert "labels the model does not know" in capsys.readouterr().err
    assert (
        json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))["per_label"]["SHIP" if kind == "ner" else "new"]["recall"] == 0.0
    )
    assert all(value <= 1.0 for name, value in found.items() if name != "loss")


@pytest.mark.slow
def test_a_document_of_20000_words_trains_evaluates_and_predicts_with_no_word_lost(tmp_path, tiny_bert):
    settings = config("ner", tiny_bert, tmp_path, max_steps=2)
    rows = [("Marie", "B-PER"), ("Curie", "I-PER"), ("worked", "O"), ("in", "O"), ("Paris", "B-LOC")] * 4000
    document = tmp_path / "long.conll"
    document.write_text("".join(f"{word}\t{tag}\n" for word, tag in rows), "utf-8")
    settings["data"] = {"train": str(document), "validation": str(document)}
    folder = train_once(settings, tmp_path)
    audit = json.loads((folder / "audit.json").read_text("utf-8"))["splits"]["train"]["counts"]
    assert (audit["words"], audit["spans"], audit["examples"]) == (20000, 8000, 1)
    per_window = 64 - 2 - 16  # new tokens of each window after the first
    assert audit["windows"] == 1 + -(-(audit["tokens"] - 62) // per_window)
    assert json.loads((folder / "validation" / "metrics.json").read_text("utf-8"))["per_label"]["PER"]["support"] == 4000
    assert (
        tunny.evaluate(folder / "model", document, tmp_path / "out")
        == json.loads((folder / "validation" / "metrics.json").read_text("utf-8"))["metrics"]
    )
    tunny.predict(folder / "model", document, tmp_path / "p.conll")
    assert [line.split("\t")[0] for line in (tmp_path / "p.conll").read_text("utf-8").split("\n") if line] == [word for word, _ in rows]


def test_entities_across_window_edges_are_found_once_by_a_trained_model(tmp_path):
    wanted = config("ner", save_model("bert", tmp_path / "encoder"), tmp_path, epochs=40, learning_rate=2e-3)
    document = Path(wanted["data"]["train"]).read_text("utf-8").strip().split("\n\n")[-1]
    del wanted["data"]["validation"]  # the last state is the model: it knows its training data by heart
    model = train_once(wanted, tmp_path) / "model"
    (tmp_path / "long.conll").write_text(document, "utf-8")
    found = tunny.evaluate(model, tmp_path / "long.conll", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert content["audit"]["counts"]["windows"] >= 3
    assert (found["precision"], found["recall"]) == (1.0, 1.0)
