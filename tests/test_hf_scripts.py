"""The commands for Hugging Face's scripts: labels and ids as transformers' own tokenizer gives them by the scripts' rules, and their files."""

import csv
import dataclasses
import json
import re
from decimal import Decimal
from pathlib import Path

import datasets
import pytest
import torch
import transformers
from seqeval.metrics import accuracy_score, classification_report
from sklearn.metrics import accuracy_score as accuracy
from sklearn.metrics import f1_score

from tests.tiny import make_model, make_tokenizer, save_model
from tests.trained import ner_sentences, rows
from tunny.cli import main
from tunny.config import settings_table
from tunny.data.store import WindowStore
from tunny.hf_arguments import SCRIPTS, arguments_of, read_words, understand
from tunny.hf_scripts import settings_of

SENTENCES = [*ner_sentences()[:20], [("Göteborg", "B-LOC"), ("-", "I-LOC"), ("Bergen", "I-LOC"), ("1954", "O")]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run the program in this process: code and stderr."""

    def start(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        return caught.value.code, capsys.readouterr().err

    return start


def refused(answer: tuple[int, str]) -> list[str]:
    code, err = answer
    assert code == 2
    return [line.removeprefix("error: ") for line in err.splitlines()]


def written(folder: Path, sentences=SENTENCES, name: str = "train.json", tags: str = "ner_tags") -> Path:
    """Write sentences as the JSON lines that run_ner.py reads."""
    lines = [{"tokens": [word for word, _ in each], tags: [tag for _, tag in each]} for each in sentences]
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder / name


def saved(family: str, folder: Path, kind: str | None) -> Path:
    """Save a tiny model; a RoBERTa with its own tokenizer class, which heeds add_prefix_space."""
    save_model(family, folder, kind)
    if family == "roberta":
        made = make_tokenizer("byte-bpe-prefix", 800)
        make_model(family, len(made)).save_pretrained(folder)
        bpe = json.loads(made.backend_tokenizer.to_str())["model"]
        special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
        merges = [tuple(pair) for pair in bpe["merges"]]
        tokenizer = transformers.RobertaTokenizer(vocab=bpe["vocab"], merges=merges, bos_token="[CLS]", eos_token="[SEP]", **special)
        tokenizer.save_pretrained(folder)
    return folder


def encoded_by_the_script(model: Path, labels: list[str], label_all: bool, sentences) -> list[tuple[list[int], list[int]]]:
    """Tokenise words with transformers and give labels to the tokens by run_ner.py's rules, written out here."""
    extra = {"add_prefix_space": True} if json.loads((model / "config.json").read_text())["model_type"] == "roberta" else {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(model, **extra)
    inside = {name: name.replace("B-", "I-") if name.replace("B-", "I-") in labels else name for name in labels}
    found = []
    for sentence in sentences:
        encoding = tokenizer([word for word, _ in sentence], is_split_into_words=True, truncation=True, max_length=100)
        learnt, before = [], None
        for word in encoding.word_ids():
            if word is None:
                learnt.append(-100)
            elif word != before:
                learnt.append(labels.index(sentence[word][1]))
            else:
                learnt.append(labels.index(inside[sentence[word][1]]) if label_all else -100)
            before = word
        found.append((encoding["input_ids"], learnt))
    return found


def encoded_by_tunny(run_folder: Path) -> list[tuple[list[int], list[int]]]:
    place = json.loads((run_folder / "manifest.json").read_text("utf-8"))["encoded"]["train"]
    windows = WindowStore(Path(place) / "windows.arrow")
    return [(window.ids.tolist(), window.labels.tolist()) for window in (windows[at] for at in range(len(windows)))]


@pytest.mark.parametrize(("family", "kind"), [("bert", None), ("bert", "wordpiece-cased"), ("roberta", None), ("xlm-roberta", None)])
@pytest.mark.parametrize("label_all", [False, True])
def test_labels_and_ids_are_those_of_the_script(run, folder, family, kind, label_all):
    sentences = [each for each in SENTENCES if family == "bert" or all(word.isalnum() for word, _ in each)]
    model, train = saved(family, folder / "model", kind), written(folder, sentences)
    arguments = [
        "--model_name_or_path",
        str(model),
        "--train_file",
        str(train),
        "--do_train",
        "--max_steps",
        "1",
        "--max_seq_length",
        "100",
    ]
    code, err = run("run-ner", *arguments, "--output_dir", "out", *["--label_all_tokens"] * label_all)
    assert code == 0, err
    labels = sorted({tag for sentence in sentences for _, tag in sentence})
    config = json.loads((folder / "out" / "config.json").read_text("utf-8"))
    assert config["id2label"] == {str(number): name for number, name in enumerate(labels)}
    found, expected = encoded_by_tunny(folder / "out"), encoded_by_the_script(model, labels, label_all, sentences)
    assert [ids for ids, _ in found] == [ids for ids, _ in expected]
    if family != "xlm-roberta":  # whose pieces that are a space alone get the label of their word there, and none in Tunny
        assert found == expected
    again = transformers.AutoTokenizer.from_pretrained(folder / "out")
    assert (
        again(["Warsaw"], is_split_into_words=True)["input_ids"]
        == encoded_by_the_script(model, labels, label_all, [[("Warsaw", "O")]])[0][0]
    )


DO_ALL = [
    "--do_train",
    "--do_eval",
    "--do_predict",
    "--train_file",
    "train.json",
    "--validation_file",
    "validation.json",
    "--test_file",
    "test.json",
    "--output_dir",
    "out",
]


def data(folder: Path) -> None:
    made = ner_sentences()
    for name, part in (("train", made[:40]), ("validation", made[40:50]), ("test", made[50:])):
        written(folder, part, f"{name}.json")


def test_run_ner_leaves_the_files_of_the_script(run, folder, tiny_bert):
    data(folder)
    code, err = run("run-ner", "--model_name_or_path", str(tiny_bert), *DO_ALL, "--max_train_samples=30", "--max-eval-samples", "7",
                       "--learning_rate", "5e-3", "--num_train_epochs", "3.0", "--logging_steps", "2", "--return_entity_level_metrics")  # fmt: skip
    assert code == 0, err
    out = folder / "out"
    results = {part: json.loads((out / f"{part}_results.json").read_text("utf-8")) for part in ("train", "eval", "predict", "all")}
    assert results["all"] == {**results["train"], **results["eval"], **results["predict"]}
    assert (results["train"]["train_samples"], results["eval"]["eval_samples"], results["predict"]["predict_samples"]) == (30, 7, 10)
    state = json.loads((out / "trainer_state.json").read_text("utf-8"))
    assert (state["global_step"], state["epoch"], state["best_metric"]) == (12, 3.0, None)
    assert [line["step"] for line in state["log_history"]] == [2, 4, 6, 8, 10, 12]
    model = transformers.AutoModelForTokenClassification.from_pretrained(out)
    lines = [line.split(" ") for line in (out / "predictions.txt").read_text("utf-8").splitlines()]
    test = ner_sentences()[50:]
    assert [len(line) for line in lines] == [len(sentence) for sentence in test]
    assert {tag for line in lines for tag in line} <= set(model.config.id2label.values())
    gold = [[tag for _, tag in sentence] for sentence in test]
    expected = classification_report(gold, lines, output_dict=True, zero_division=0)
    for label in ("LOC", "PER"):
        shown = {name: results["predict"][f"predict_{label}_{name}"] for name in ("precision", "recall", "f1", "number")}
        assert list(shown.values()) == pytest.approx([expected[label][name] for name in ("precision", "recall", "f1-score", "support")])
    assert results["predict"]["predict_overall_f1"] == pytest.approx(expected["micro avg"]["f1-score"])
    assert results["predict"]["predict_overall_accuracy"] == pytest.approx(accuracy_score(gold, lines))


def test_a_trained_folder_is_evaluated_alone_and_gives_its_scores_again(run, folder, tiny_bert):
    data(folder)
    run("run-ner", "--model_name_or_path", str(tiny_bert), *DO_ALL, "--eval_strategy", "epoch", "--load_best_model_at_end")
    arguments = {"model_name_or_path": "out", "validation_file": "validation.json", "output_dir": "again", "do_eval": True}
    (folder / "arguments.json").write_text(json.dumps(arguments))
    code, err = run("run-ner", "arguments.json")
    assert code == 0, err
    first, again = (json.loads((folder / name / "eval_results.json").read_text("utf-8")) for name in ("out", "again"))
    assert {name: first[name] for name in ("eval_f1", "eval_loss", "eval_accuracy")} == {name: again[name] for name in ("eval_f1", "eval_loss", "eval_accuracy")}  # fmt: skip
    assert json.loads((folder / "out" / "trainer_state.json").read_text("utf-8"))["best_metric"] == first["eval_loss"]


def test_run_ner_no_trainer_trains_and_evaluates_without_being_told(run, folder, tiny_bert):
    data(folder)
    arguments = [
        "--train_file",
        "train.json",
        "--validation_file",
        "validation.json",
        "--output_dir",
        "out",
        "--max_length",
        "64",
        "--num_warmup_steps",
        "2",
        "--max_train_steps",
        "4",
    ]
    code, err = run(
        "run-ner",
        "--model_name_or_path",
        str(tiny_bert),
        *arguments,
        "--per_device_train_batch_size",
        "4",
        "--gradient_accumulation_steps",
        "2",
    )
    assert code == 0, err
    assert "arguments: those of run_ner_no_trainer.py" in err
    saved_config = (folder / "out" / "config.yaml").read_text("utf-8")
    for line in (
        "max_steps: 4",
        "batch_size: 8",
        "micro_batch_limit: 4",
        "warmup_steps: 2",
        "max_grad_norm: 0.0",
        "max_tokens: 64",
        "precision: fp32",
    ):
        assert line in saved_config
    assert {"eval_f1", "train_loss"} <= set(json.loads((folder / "out" / "all_results.json").read_text("utf-8")))


def test_what_has_no_effect_is_said_and_all_that_cannot_be_followed_is_refused_at_once(run, folder):
    lines = refused(run("run-ner", "--do_train", "--model_name_or_path", "m", "--num_train_epoch", "3", "--optim", "sgd", "--max_length", "9", "--adam_beta1",
                        "0.8", "--num_train_epochs", "2.5", "--fp16", "maybe", "--trust_remote_code", "--push_to_hub"))  # fmt: skip
    assert lines == [
        "--num_train_epoch: run_ner has no such argument; did you mean 'num_train_epochs'?",
        "--optim: expected one of adamw_torch, adamw_torch_fused, adamw_hf, found sgd",
        "--max_length: run_ner has no such argument; run_ner_no_trainer has",
        "--adam_beta1: AdamW is used as it is by default. Leave it out.",
        "--num_train_epochs: expected a whole number, found 2.5",
        "--fp16: expected true or false, found maybe",
        "--trust_remote_code: no code of models or data sets is run. Leave it out.",
        "--do_train: needs train data. Give --train_file or --dataset_name.",
        "--push_to_hub: needs --hub_model_id OWNER/NAME, found none",
    ]
    assert refused(run("run-ner", "--do_eval", "--model_name_or_path", "m")) == [
        "--do_eval: needs validation data. Give --validation_file or --dataset_name."
    ]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "source", "value"),
    [("run-glue", "task_name", "rte"), ("run-glue", "dataset_name", "set"), ("run-ner", "dataset_name", "set")],
)
def test_files_beside_a_data_set_are_refused(run, folder, command, source, value):
    files = [f"--{part}_file={part}.json" for part in ("train", "validation", "test")]
    assert refused(run(command, "--model_name_or_path", "m", "--do_train", f"--{source}", value, *files)) == [
        f"--{part}_file: --{source} {value} names the data already. Leave one of the two out." for part in ("train", "validation", "test")
    ]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("word", ["9007199254740993", "-9007199254740993", "7.0", "1e3"])
def test_whole_numbers_are_exact(word):
    assert understand("run_ner", read_words(["--seed", word]))["seed"] == Decimal(word)


def test_a_whole_number_that_a_float_cannot_hold_is_refused_where_it_is_written_as_one():
    told = understand("run_ner", read_words(["--seed", "9007199254740993.0"]))
    assert told.problems == ["--seed: expected a whole number, found 9007199254740993.0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--fp16 --use_cpu", "--fp16: is for GPUs. On a CPU give --bf16, or leave it out."),
        ("--push_to_hub --output_dir out", "--push_to_hub: needs --hub_model_id OWNER/NAME, found none"),
        ("--push_to_hub --hub_model_id mine", "--push_to_hub: needs --hub_model_id OWNER/NAME, found mine"),
        (
            "--report_to wandb",
            "--report_to: expected one of none, all, tensorboard, mlflow, azure_ml, found wandb. Others are classes of your own, given by --track: see docs/tracking.md",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_before_data_are_read(run, folder, words, message):
    assert refused(run("run-ner", "--do_train", "--model_name_or_path", "m", "--train_file", "none.json", *words.split())) == [message]


def test_arguments_without_effect_are_said(capsys):
    understand("run_ner", read_words(["--do-train", "--no_dataloader_pin_memory", "--seed=7"]))
    assert capsys.readouterr().err == "--dataloader_pin_memory: has no effect: how batches are made and gathered changes no number\n"


def learning(model: Path, out: str) -> list[object]:
    """Return the command that trains a model on `data`."""
    return ["run-ner", "--model_name_or_path", model, "--do_train", "--train_file", "train.json", "--output_dir", out]


def test_an_output_folder_with_a_run_is_refused_resumed_or_replaced(run, folder, tiny_bert):
    data(folder)
    start = [*learning(tiny_bert, "out"), "--max_steps", "1"]
    assert run(*start)[0] == 0
    (folder / "out" / "predictions.txt").write_text("old")
    assert refused(run(*start))[-1] == (
        "out: already holds a run. Give --resume_from_checkpoint true, --overwrite_output_dir, or another --output_dir."
    )
    code, err = run(*start, "--resume_from_checkpoint", "out/checkpoints/step-1")
    assert code == 0
    assert "this run is finished; nothing to do" in err
    assert refused(run(*start, "--resume_from_checkpoint", "elsewhere"))[-1] == (
        "--resume_from_checkpoint: a run goes on from its newest checkpoint. Expected true or out/checkpoints/step-1, found elsewhere"
    )
    assert refused(run(*start, "--train.seeds", "[1, 2]"))[-1] == (
        "train.seeds: makes several models, and this command leaves one. Use tunny train."
    )
    assert run(*start, "--overwrite_output_dir")[0] == 0
    assert not (folder / "out" / "predictions.txt").exists()


@pytest.fixture(params=["--do_train --max_steps 2 --save_steps 1", "--max_train_steps 2 --checkpointing_steps 1"])
def twice(request, folder, tiny_bert):
    """Return the command for a training with two checkpoints, of run_ner.py and of run_ner_no_trainer.py."""
    data(folder)
    return ["run-ner", "--model_name_or_path", tiny_bert, "--train_file", "train.json", "--output_dir", "out", *request.param.split()]


def test_a_checkpoint_that_a_run_would_not_go_on_from_is_refused(run, folder, twice):
    assert run(*twice)[0] == 0
    older, newest = folder / "out/checkpoints/step-1", folder / "out/checkpoints/step-2"
    message = "--resume_from_checkpoint: a run goes on from its newest checkpoint. Expected true or out/checkpoints/step-{}, found {}"
    assert refused(run(*twice, "--resume_from_checkpoint", older))[-1] == message.format(2, older)
    for named in (newest, "out/../out/checkpoints/step-2/", "out"):
        assert run(*twice, "--resume_from_checkpoint", named)[0] == 0
    (newest / "progress.json").write_text("cut")
    assert refused(run(*twice, "--resume_from_checkpoint", newest))[-1] == message.format(1, newest)
    assert run(*twice, "--resume_from_checkpoint", older)[0] == 0


def test_a_group_that_starts_again_has_newer_checkpoints_than_it_was_told_of(run, monkeypatch, twice):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one launch")
    assert run(*twice)[0] == 0
    assert run(*twice, "--resume_from_checkpoint", "out/checkpoints/step-1")[0] == 0


def test_a_model_or_a_text_that_is_no_run_of_ours_is_not_replaced(run, folder, tiny_bert):
    data(folder)
    (folder / "README.md").write_text("mine")
    start = [*learning(tiny_bert, "."), "--overwrite_output_dir"]
    assert refused(run(*start))[-1] == ".: holds README.md, which the model would replace. Choose another --output_dir."
    assert (folder / "README.md").read_text() == "mine"


def test_parts_of_speech_have_sorted_labels_and_accuracy_alone(run, folder, tiny_bert):
    made = [[(word, "NAME" if tag != "O" else "WORD") for word, tag in each] for each in ner_sentences()]
    for name, part in (("train", made[:40]), ("validation", made[40:50]), ("test", made[50:])):
        written(folder, part, f"{name}.json", "pos_tags")
    code, err = run("run-ner", "--task_name", "pos", "--model_name_or_path", tiny_bert, *DO_ALL, "--max_steps", "2")
    assert code == 0, err
    assert list(json.loads((folder / "out" / "config.json").read_text("utf-8"))["id2label"].values()) == ["NAME", "WORD"]
    lines = [line.split(" ") for line in (folder / "out" / "predictions.txt").read_text("utf-8").splitlines()]
    gold = [[tag for _, tag in each] for each in made[50:]]
    right = [answer == tag for line, tags in zip(lines, gold, strict=True) for answer, tag in zip(line, tags, strict=True)]
    found = json.loads((folder / "out" / "predict_results.json").read_text("utf-8"))
    assert found["predict_accuracy"] == pytest.approx(sum(right) / len(right))
    assert "predict_f1" not in found


def test_the_model_at_the_top_of_the_folder_is_the_one_in_it(run, folder, tiny_bert):
    data(folder)
    start = [*learning(tiny_bert, "out"), "--max_steps"]
    run(*start, "1")
    run(*start, "2", "--overwrite_output_dir")
    inside = sorted((folder / "out" / "model").iterdir())
    assert [(folder / "out" / file.name).read_bytes() for file in inside] == [file.read_bytes() for file in inside]


def test_labels_of_a_data_set_keep_the_order_of_its_classes(run, folder, tiny_bert):
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-NEVER", "I-NEVER"]
    made = ner_sentences()[:24]
    values = {
        "tokens": [[word for word, _ in each] for each in made],
        "ner_tags": [[names.index(tag) for _, tag in each] for each in made],
    }
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.ClassLabel(names=names))}
    )
    whole = datasets.Dataset.from_dict(values, features=features)
    datasets.DatasetDict({"train": whole, "validation": whole}).save_to_disk(str(folder / "set"))
    code, err = run("run-ner", "--model_name_or_path", tiny_bert, "--dataset_name", "set", "--output_dir", "out", "--do_train", "--do_eval",
                    "--max_steps", "1", "--ignore_mismatched_sizes")  # fmt: skip
    assert code == 0, err
    config = json.loads((folder / "out" / "config.json").read_text("utf-8"))
    assert config["id2label"] == {str(number): name for number, name in enumerate(names)}
    code, err = run("run-ner", "--model_name_or_path", "out", "--train_file", written(folder, made), "--output_dir", "again", "--do_train", "--max_steps", "1")  # fmt: skip
    assert refused((code, err))[-1].startswith("out: its head does not fit 4 labels")  # --ignore_mismatched_sizes is not given


def test_a_model_with_the_same_labels_keeps_its_own_order(run, folder, tiny_bert):
    data(folder)
    start = ["run-ner", "--train_file", "train.json", "--do_train", "--max_steps", "1"]
    assert run(*start, "--model_name_or_path", tiny_bert, "--output_dir", "out", "--data.labels", "[O, I-PER, B-PER, B-LOC]")[0] == 0
    assert run(*start, "--model_name_or_path", "out", "--output_dir", "again")[0] == 0
    config = json.loads((folder / "again" / "config.json").read_text("utf-8"))
    assert list(config["id2label"].values()) == ["O", "I-PER", "B-PER", "B-LOC"]


# -- run_glue ----------------------------------------------------------------------------------------------------------


def table(folder: Path, name: str, part: list[list[object]]) -> None:
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["sentence1", "sentence2", "label"], *part])


FILES = [
    "--train_file",
    "train.csv",
    "--validation_file",
    "dev.csv",
    "--test_file",
    "test.csv",
    "--output_dir",
    "out",
    "--do_train",
    "--do_eval",
    "--do_predict",
]


@pytest.mark.parametrize(
    ("label", "labels", "metric"),
    [
        (lambda at: ("no", "yes")[at % 2], ["no", "yes"], "eval_accuracy"),
        (lambda at: at % 11, [str(number) for number in range(11)], "eval_accuracy"),
        (lambda at: at % 3 / 2, None, "eval_mse"),
    ],
)
def test_run_glue_on_files(run, folder, tiny_bert, label, labels, metric):
    made = [[first, second, label(at)] for at, (first, second, _) in enumerate(rows("pair")[1])]
    for name, part in (("train.csv", made[:32]), ("dev.csv", made[32:40]), ("test.csv", made[40:])):
        table(folder, name, part)
    code, err = run("run-glue", "--model_name_or_path", tiny_bert, *FILES, "--num_train_epochs", "1")
    assert code == 0, err
    head, *lines = (folder / "out" / "predict_results_None.txt").read_text("utf-8").splitlines()
    assert head == "index\tprediction"
    assert [line.split("\t")[0] for line in lines] == [str(at) for at in range(8)]
    answers = [line.split("\t")[1] for line in lines]
    assert set(answers) <= set(labels) if labels else all(re.fullmatch(r"-?\d\.\d{3}", answer) for answer in answers)
    assert metric in json.loads((folder / "out" / "eval_results.json").read_text("utf-8"))
    config = json.loads((folder / "out" / "config.json").read_text("utf-8"))
    assert list(config["id2label"].values()) == (labels or ["score"])
    encoding = transformers.AutoTokenizer.from_pretrained(tiny_bert)([row[0] for row in made[:32]], [row[1] for row in made[:32]], truncation=True, max_length=128)  # fmt: skip
    assert [ids for ids, _ in encoded_by_tunny(folder / "out")] == encoding["input_ids"]


def glue(folder: Path, names: tuple[str, str], labels: object, **parts: bool) -> None:
    """Save a data set of pairs as `glue` is on the Hub; parts without labels have -1."""
    features = datasets.Features({**dict.fromkeys(names, datasets.Value("string")), "label": labels})
    made = rows("pair")[1][:24]
    count = getattr(labels, "num_classes", 3)
    sets = {
        part: datasets.Dataset.from_dict(
            {names[0]: [row[0] for row in made], names[1]: [row[1] for row in made], "label": [at % count if known else -1 for at in range(24)]},
            features=features,
        )
        for part, known in parts.items()
    }  # fmt: skip
    datasets.DatasetDict(sets).save_to_disk(str(folder / "glue"))


def test_mnli_is_evaluated_and_predicted_twice(run, folder, tiny_bert):
    classes = datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])
    parts = {"train": True, "validation_matched": True, "validation_mismatched": True, "test_matched": False, "test_mismatched": False}
    glue(folder, ("premise", "hypothesis"), classes, **parts)
    code, err = run(
        "run-glue", "--model_name_or_path", tiny_bert, "--task_name", "mnli", "--dataset_name", "glue", *FILES[6:], "--max_steps", "2"
    )
    assert code == 0, err
    found = json.loads((folder / "out" / "eval_results.json").read_text("utf-8"))
    assert found["eval_accuracy"] == found["eval_accuracy_mm"]  # of the same rows
    assert found["eval_samples_mm"] == 24
    assert (folder / "out" / "predict_results_mnli.txt").read_text() == (folder / "out" / "predict_results_mnli-mm.txt").read_text()
    assert list(json.loads((folder / "out" / "config.json").read_text("utf-8"))["id2label"].values()) == classes.names


def test_a_task_with_two_scores_has_their_mean(run, folder, tiny_bert):
    glue(folder, ("sentence1", "sentence2"), datasets.ClassLabel(names=["not_equivalent", "equivalent"]), train=True, validation=True)
    code, err = run("run-glue", "--model_name_or_path", tiny_bert, "--task_name", "mrpc", "--dataset_name", "glue", "--output_dir", "out",
                    "--do_train", "--do_eval", "--max_steps", "2")  # fmt: skip
    assert code == 0, err
    found = json.loads((folder / "out" / "eval_results.json").read_text("utf-8"))
    lines = [json.loads(line) for line in (folder / "out" / "validation" / "predictions.jsonl").read_text("utf-8").splitlines()]
    answers, gold = [line["label"] == "equivalent" for line in lines], [at % 2 == 1 for at in range(24)]
    expected = accuracy(gold, answers), f1_score(gold, answers)
    assert (found["eval_accuracy"], found["eval_f1"]) == pytest.approx(expected)
    assert found["eval_combined_score"] == pytest.approx(sum(expected) / 2)


# -- the table ---------------------------------------------------------------------------------------------------------


def test_every_argument_of_trainer_is_known_with_its_default():
    for name, field in transformers.TrainingArguments.__dataclass_fields__.items():
        ours = arguments_of("run_ner")[name]
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
        default = getattr(default, "value", default)
        same = ours.default in (default, [default]) or (name, default) == ("output_dir", None) or not (ours.default or default)
        assert same or name == "hub_private_repo", f"{name}: {default!r} is {ours.default!r} here"


def test_every_setting_of_the_table_is_one():
    known = {name for name, *_ in settings_table()} | {"task.kind", "task.label_smoothing", "track"}
    named = {one.becomes for script in SCRIPTS for one in arguments_of(script).values() if re.fullmatch(r"[\w.]+", one.becomes)}
    assert named <= known


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--warmup_steps 100", {"train.warmup_steps": 100}),
        ("--warmup_ratio 0.1", {"train.warmup_ratio": 0.1}),
        ("--warmup_steps 100 --lr_scheduler_type constant", {"train.schedule": "constant", "train.warmup_steps": 0}),
        ("--per_device_train_batch_size 4 --gradient_accumulation_steps 8", {"train.batch_size": 32, "engine.micro_batch_limit": 4}),
        ("--bf16", {"engine.precision": "bf16"}),
        pytest.param("--fp16", {"engine.precision": "fp16"}, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="for GPUs")),
        ("--no_cuda", {"engine.device": "cpu"}),
        ("--report_to none", {"track": []}),
        ("--report_to tensorboard", {"track": ["tensorboard"]}),
        ("--evaluation_strategy steps --eval_steps 25 --load_best_model_at_end True --metric_for_best_model overall_f1 --validation_file v",
         {"data.validation": "v", "train.evaluate_every_steps": 25, "train.metric_for_best": "f1"}),
        ("--push_to_hub --hub_model_id me/mine", {"checkpoint.push": "me/mine"}),
    ],
)  # fmt: skip
def test_arguments_become_settings(words, expected):
    told = understand("run_ner", read_words(["--do_train", "--model_name_or_path", "m", *words.split()]))
    found = settings_of(told, {"train": "t", **({"validation": "v"} if told["validation_file"] else {})}, {"do_train": "train"})
    assert expected.items() <= found.items()


def test_the_batch_of_each_device_counts_for_all_that_train_together(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    words = "--do_train --model_name_or_path m --per_device_train_batch_size 4 --gradient_accumulation_steps 8"
    found = settings_of(understand("run_ner", read_words(words.split())), {"train": "t"}, {"do_train": "train"})
    assert (found["train.batch_size"], found["engine.micro_batch_limit"]) == (96, 4)


def test_with_the_defaults_of_the_script():
    told = understand("run_ner", read_words(["--do_train", "--model_name_or_path", "m", "--train_file", "t"]))
    assert settings_of(told, {"train": "t"}, {"do_train": "train"}) == {
        "model.name": "m", "model.new_head": False, "task.kind": "ner", "task.label_smoothing": 0.0, "data.train": "t",
        "encode.label_all_pieces": False, "output_dir": "trainer_output", "seed": 42, "train.epochs": 3, "train.batch_size": 8,
        "train.learning_rate": 5e-5, "train.weight_decay": 0.0, "train.max_grad_norm": 1.0, "train.schedule": "linear", "train.warmup_ratio": 0.0,
        "train.log_every_steps": 500, "checkpoint.every_steps": 500, "engine.precision": "fp32", "engine.device": "auto",
        "engine.gradient_checkpointing": False, "track": [],
    }  # fmt: skip
