"""The commands on files as a user types them: split, convert, check, init. Their parts have tests of their own."""

import json

import pytest
import yaml

from tests.data.reading import Reading, written

TWEETS = "id,text,label,who\n" + "".join(
    f"{n},text number {n} {'good' if n % 3 else 'bad'},{'p' if n % 3 else 'n'},w{n // 4}\n" for n in range(80)
)


@pytest.fixture
def tweets(tmp_path):
    return written(tmp_path, "tweets.csv", TWEETS)


def test_split_deals_rows_by_document_and_reports(tweets, tmp_path, tunny):
    done = tunny("split", tweets, "--out", tmp_path / "out", "--group-by", "who", "--seed", "7")
    assert done.returncode == 0, done.stderr
    parts = {name: Reading(tmp_path / "out" / f"{name}.csv", "classify", group_by="who") for name in ("train", "validation", "test")}
    documents = {name: {example.document for example in part} for name, part in parts.items()}
    assert [len(found) for found in documents.values()] == [14, 3, 3]
    assert not set.intersection(*documents.values())
    assert sum(map(len, parts.values())) == 80
    content = json.loads((tmp_path / "out" / "split.json").read_text("utf-8"))
    assert content["seed"] == 7
    assert content["splits"]["test"]["ids"] == sorted(documents["test"])
    assert content["audit"]["flows"]["examples"] == {"in": 80, "kept": 80, "repaired": {}, "dropped": {}}


def test_split_refuses_an_old_output_and_leaves_it_alone(tweets, tmp_path, tunny):
    assert tunny("split", tweets, "--out", tmp_path / "out").returncode == 0
    before = (tmp_path / "out" / "train.csv").read_bytes()
    again = tunny("split", tweets, "--out", tmp_path / "out", "--seed", "1")
    assert (again.returncode, "is not empty" in again.stderr) == (2, True)
    assert (tmp_path / "out" / "train.csv").read_bytes() == before


def test_a_split_that_fails_leaves_nothing(tmp_path, tunny):
    path = written(tmp_path, "a.csv", "text,label\none,x\ntwo\n")
    done = tunny("split", path, "--out", tmp_path / "out", "--task", "classify")
    assert (done.returncode, (tmp_path / "out").exists()) == (2, False)
    assert "a.csv:3: expected 2 columns" in done.stderr


def test_ratios_that_are_no_whole_are_refused(tweets, tmp_path, tunny):
    done = tunny("split", tweets, "--out", tmp_path / "out", "--ratios", "0.5", "0.2", "0.2")
    assert (done.returncode, "add up to 1" in done.stderr) == (2, True)


def test_the_same_split_comes_of_files_in_any_order(tmp_path, tunny):
    lines = TWEETS.splitlines(keepends=True)
    for name, rows in (("forward", lines[1:]), ("backward", lines[:0:-1])):
        (tmp_path / name).mkdir()
        written(tmp_path / name, "a.csv", lines[0] + "".join(rows[:30]))
        written(tmp_path / name, "b.csv", lines[0] + "".join(rows[30:]))
        assert tunny("split", tmp_path / name, "--out", tmp_path / name / "out", "--group-by", "who").returncode == 0
    found = [
        {
            part: sorted((tmp_path / name / "out" / f"{part}.csv").read_text("utf-8").splitlines())
            for part in ("train", "validation", "test")
        }
        for name in ("forward", "backward")
    ]
    assert found[0] == found[1]


def test_convert_and_back_gives_the_same(tmp_path, tunny):
    path = written(tmp_path, "a.conll", "Anna\tB-PER\nBerg\tI-PER\ncame\tO\n\nOslo\tB-LOC\n\n")
    assert tunny("convert", path, "--to", "spans", "--out", tmp_path / "a.jsonl").returncode == 0
    first = json.loads((tmp_path / "a.jsonl").read_text("utf-8").splitlines()[0])
    assert (first["text"], first["spans"]) == ("Anna Berg came", [{"start": 0, "end": 9, "label": "PER"}])
    assert tunny("convert", tmp_path / "a.jsonl", "--to", "conll", "--out", tmp_path / "b.conll").returncode == 0
    assert (tmp_path / "b.conll").read_text("utf-8") == path.read_text("utf-8")


def test_check_says_what_is_wrong_and_writes_its_files(tmp_path, tunny):
    written(tmp_path, "train.csv", "text,label\nthe harbour is full,x\nthe harbour is full,y\nthe ferry left,x\n,y\n")
    written(tmp_path, "test.csv", "text,label\nthe ferry left,x\nfresh,y\nbroken\n")
    done = tunny("check", tmp_path / "train.csv", tmp_path / "test.csv", "--task", "classify", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"audit.json", "check.html", "quarantine.jsonl"}
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text("utf-8").splitlines()]
    assert (row["file"], row["line"], row["row"]) == ("test.csv", 4, "broken\n")
    strict = tunny("check", tmp_path / "train.csv", tmp_path / "test.csv", "--task", "classify", "--out", tmp_path / "out", "--strict")
    assert (strict.returncode, "2 things were left out (--strict)" in strict.stderr) == (2, True)


def test_check_fix_leaves_out_copies_and_quotes_them(tmp_path, tunny):
    written(tmp_path, "train.csv", "text,label\nsame,x\nsame,x\nshared,y\nodd,x\nodd,y\nkept,y\n")
    written(tmp_path, "test.csv", "text,label\nshared,y\n")
    done = tunny(
        "check", tmp_path / "train.csv", tmp_path / "test.csv", "--task", "classify", "--out", tmp_path / "out", "--fix", tmp_path / "new"
    )
    assert done.returncode == 0, done.stderr
    assert [example.text for example in Reading(tmp_path / "new" / "train.csv", "classify")] == ["same", "kept"]
    assert [example.text for example in Reading(tmp_path / "new" / "test.csv", "classify")] == ["shared"]
    quoted = [json.loads(line) for line in (tmp_path / "new" / "quarantine.jsonl").read_text("utf-8").splitlines()]
    assert [(row["line"], "other labels" in row["reason"]) for row in quoted] == [(3, False), (4, False), (5, True), (6, True)]


def test_check_of_a_config_says_what_a_training_would_cost(tmp_path, tunny, tiny_bert):
    path = written(tmp_path, "train.csv", TWEETS)
    config = {"task": "classify", "data": {"train": str(path)}, "model": {"name": str(tiny_bert)}, "output_dir": str(tmp_path / "run")}
    written(tmp_path, "config.yaml", yaml.safe_dump(config))
    refused = tunny("check", tmp_path / "config.yaml", "--out", tmp_path / "out")  # as the training is
    assert (refused.returncode, (tmp_path / "out").exists()) == (2, False)
    assert "encode.max_tokens is 256, but this model takes at most 130 tokens" in refused.stderr
    written(tmp_path, "config.yaml", yaml.safe_dump({**config, "encode": {"max_tokens": 130}}))
    done = tunny("check", tmp_path / "config.yaml", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    training = json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))["training"]
    assert training["seconds"] > 0
    assert training["memory_bytes"] > 0


def test_init_writes_a_config_that_trains(tmp_path, tunny, tiny_bert):
    path = written(tmp_path, "tweets.csv", TWEETS)
    done = tunny("init", "mine", "--data", path.name, "--task", "classify")
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((tmp_path / "mine" / "config.yaml").read_text("utf-8"))
    assert (config["task"], config["data"]["train"]) == ("classify", "../tweets.csv")
    assert "#" in (tmp_path / "mine" / "config.yaml").read_text("utf-8")
    run = tunny(
        "train", tmp_path / "mine" / "config.yaml", "--model.name", tiny_bert, "--train.epochs", "1", "--output_dir", tmp_path / "run"
    )
    assert run.returncode == 0, run.stderr
    assert {"split.json", "test", "validation", "model"} <= {entry.name for entry in (tmp_path / "run").iterdir()}


def test_init_leaves_a_config_that_is_there_alone(tmp_path, tunny):
    path = written(tmp_path, "config.yaml", "task: ner\n")
    done = tunny("init", tmp_path, "--data", written(tmp_path, "a.csv", TWEETS), "--task", "classify")
    assert (done.returncode, path.read_text("utf-8")) == (2, "task: ner\n")


def test_names_that_only_hold_the_word_of_a_split_are_no_splits(tmp_path, tunny):
    path = written(tmp_path, "latest_values.csv", TWEETS)
    done = tunny("init", "mine", "--data", path, "--task", "classify")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "mine" / "config.yaml").read_text("utf-8"))["data"]["train"] == str(path)


def test_what_is_left_out_of_files_that_are_split_is_said(tmp_path, tunny):
    path = written(tmp_path, "tweets.csv", TWEETS + "80,no label here,,w1\n")
    done = tunny("check", path, "--task", "classify", "--data.split.test", "0.2", "--strict", "--out", "out")
    assert (done.returncode, "1 things were left out (--strict)" in done.stderr) == (2, True)
    assert "left out on reading the files: 1 quarantined (examples)" in done.stderr


def test_too_few_documents_to_split_are_an_error(tmp_path, tunny):
    path = written(tmp_path, "a.csv", "text,label\none,x\ntwo,y\n")
    done = tunny("check", path, "--task", "classify", "--data.split", '{"validation": 0.2, "test": 0.2}', "--out", "out")
    assert (done.returncode, "2 documents are too few" in done.stderr) == (2, True)


def test_a_result_never_replaces_its_source(tmp_path, tunny):
    path = written(tmp_path, "a.conll", "Anna\tB-PER\n\n")
    done = tunny("convert", path, "--to", "conll", "--out", path)
    assert (done.returncode, "is the source itself" in done.stderr, path.read_text("utf-8")) == (2, True, "Anna\tB-PER\n\n")


def test_the_files_of_a_folder_are_splits_by_their_names(tmp_path, tunny):
    (tmp_path / "data").mkdir()
    for name in ("train", "dev"):
        written(tmp_path / "data", f"{name}.conll", f"{name}\tB-PER\ncame\tO\n\n" * 3)
    assert tunny("init", "mine", "--data", "data").returncode == 0
    config = yaml.safe_load((tmp_path / "mine" / "config.yaml").read_text("utf-8"))
    assert config["data"]["train"].endswith("train.conll")
    assert config["data"]["validation"].endswith("dev.conll")


def test_what_belongs_to_other_annotators_and_controls_is_no_loss(tmp_path, tunny):
    span = {"type": "labels", "from_name": "label", "to_name": "text", "value": {"start": 0, "end": 4, "text": "Anna", "labels": ["PER"]}}
    choice = {"type": "choices", "from_name": "topic", "to_name": "text", "value": {"choices": ["x"]}}
    annotations = [{"id": 1, "result": [span, choice]}, {"id": 2, "result": [span], "was_cancelled": True}]
    path = written(tmp_path, "a.json", json.dumps([{"id": 1, "data": {"text": "Anna came"}, "annotations": annotations}]))
    assert tunny("check", path, "--task", "ner", "--strict", "--out", "out").returncode == 0


def test_a_folder_of_glue_is_its_training_and_its_development_file(tmp_path, tunny):
    (tmp_path / "RTE").mkdir()
    for name, number in (("train", 4), ("dev", 2)):
        rows = "".join(f"{at}\ta {name} text {at}\tanother {at}\t{'not_' * (at % 2)}entailment\n" for at in range(number))
        written(tmp_path / "RTE", f"{name}.tsv", "index\tsentence1\tsentence2\tlabel\n" + rows)
    written(tmp_path / "RTE", "LICENSE.txt", "free\n")
    done = tunny("check", "RTE", "--data.format", "glue:RTE", "--out", "out")
    assert done.returncode == 0, done.stderr
    splits = json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))["splits"]
    assert {name: part["examples"] for name, part in splits.items()} == {"train": 4, "validation": 2}


def test_labels_that_differ_in_capitals_and_trimmed_ones_are_pointed_out(tmp_path, tunny):
    path = written(tmp_path, "a.csv", "text,label\none,pos\ntwo,Pos\nthree, pos\nfour,neg\n")
    done = tunny("check", path, "--task", "classify", "--out", "out")
    assert "labels 'Pos' and 'pos' differ in capitals only" in done.stderr
    audit = json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))["audits"]["data"]
    assert audit["events"]["labels trimmed"] == [{"where": "a.csv", "detail": "' pos'"}]
