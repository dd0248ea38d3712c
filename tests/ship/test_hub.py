"""Pushing and fetching, by the program as a user starts it, against a hub on loopback."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_server import serving
from tests.trained import config, trained
from tunny.config import load_config
from tunny.core import hub
from tunny.core.errors import ConfigError, HubError, ModelError
from tunny.seeds import train

WRITES = "hf_anna_writes"
PARTS = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "tunny.json"}
TEXT = "Marie Curie worked in Paris\n"


@pytest.fixture
def server():
    with serving() as found:
        yield found


@pytest.fixture
def run(server, tunny, tmp_path, monkeypatch):
    """Run the program against the hub, with a cache of its own: code and stderr, or stdout where all went well."""

    monkeypatch.delenv("HF_TOKEN", raising=False)

    def start(*arguments, token=WRITES, offline="0"):
        home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": server.address, "HF_HUB_OFFLINE": offline, "HF_TOKEN": token}
        own = {name: value for name, value in home.items() if value is not None}
        done = tunny(*arguments, env={**own, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"})
        assert "hf_anna" not in done.stdout + done.stderr
        return done.returncode, done.stderr if done.returncode else done.stdout

    return start


@pytest.fixture
def model(tmp_path):
    """A model folder with things in it that are no part of a model."""
    folder = Path(shutil.copytree(trained("ner").model, tmp_path / "tagger"))
    for name in ("train.jsonl", "checkpoints/step-3/model.safetensors", "notes.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("secret")
    return folder


def contents(folder):
    return {name: (folder / name).read_bytes() for name in PARTS}


# -- pushing -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_push_is_one_commit_of_the_model_alone_in_a_private_place(server, run, model):
    assert run("push", model, "anna/tagger") == (0, "")
    place = server.repos["anna/tagger"]
    assert place.private
    assert place.messages == ["initial commit", "Push a model"]
    assert {name: raw for name, raw in place.files.items() if name != ".gitattributes"} == contents(model)
    assert "POST /api/validate-yaml" in server.asked  # the server reads the card's head, and refuses a bad one
    assert sum(request.startswith("PUT /large/") for request in server.asked) == 1  # the weights; what is small goes with the commit
    assert not any("agent" in request for request in server.asked)  # what the library reports of its surroundings


@pytest.mark.slow
def test_a_place_is_public_only_where_that_is_asked_for(server, run, model):
    assert run("push", model, "anna/tagger", "--public") == (0, "")
    assert not server.repos["anna/tagger"].private


@pytest.mark.slow
def test_the_token_is_taken_from_a_file_too(server, run, model, tmp_path):
    (tmp_path / ".env").write_text(f"HF_TOKEN={WRITES}\n")
    assert run("push", model, "anna/tagger", token=None) == (0, "")
    assert "anna/tagger" in server.repos


REFUSED = [
    ("anna/tagger", "", "pushing needs a token that may write. Set HF_TOKEN in the environment or in .env."),
    ("anna/tagger", "hf_wrong", "the Hub does not take the token. Set HF_TOKEN to one that is valid."),
    ("anna/tagger", "hf_anna_reads", "the token may not write there. Set HF_TOKEN to one with write access, or choose another OWNER."),
    ("bert/tagger", WRITES, "the token may not write there. Set HF_TOKEN to one with write access, or choose another OWNER."),
    ("anna/taken", WRITES, "this name is taken. Choose another, or update what is there with --update."),
    ("tagger", WRITES, "expected a place on the Hub as OWNER/NAME"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "token", "reason"), REFUSED)
def test_what_cannot_be_pushed_is_one_message(server, run, model, place, token, reason):
    server.create("anna/taken", {"config.json": b"{}"})
    assert run("push", model, place, token=token) == (2, f"error: {place}: {reason}\n")
    assert list(server.repos) == ["anna/taken"]
    assert list(server.repos["anna/taken"].files) == ["config.json"]


@pytest.mark.slow
def test_a_card_that_the_hub_does_not_take_stops_the_push(server, run, model):
    (model / "README.md").write_text("---\nmodel-index: nothing\n---\n")
    code, said = run("push", model, "anna/tagger")
    assert code == 2
    assert "error: anna/tagger: Invalid metadata in README.md. - " in said
    assert list(server.repos["anna/tagger"].files) == [".gitattributes"]


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"expected a model folder, found no config\.json, tokenizer\.json, model\*\.safetensors\.$"):
        hub.require_model(tmp_path)


def test_of_a_run_folder_the_model_in_it_is_guessed():
    with pytest.raises(ModelError, match=r"found no tokenizer\.json, .*\. Did you mean .*/run/model\?$|found no .* Did you mean"):
        hub.require_model(trained("ner").folder)


@pytest.mark.slow
def test_an_update_takes_the_place_of_the_model_and_leaves_other_files(server, run, model):
    old = {"config.json": b"{}", "onnx/model.onnx": b"stale", "vocab.txt": b"stale", "images/plot.png": b"kept", "data.csv": b"kept"}
    server.create("anna/tagger", old)
    assert run("push", model, "anna/tagger", "--update") == (0, "")
    assert server.repos["anna/tagger"].files == {"images/plot.png": b"kept", "data.csv": b"kept", **contents(model)}


@pytest.mark.slow
def test_a_connection_that_breaks_in_the_middle_is_taken_up_again(server, run, model):
    server.cut_uploads = 2
    assert run("push", model, "anna/tagger") == (0, "")
    assert server.repos["anna/tagger"].files["model.safetensors"] == (model / "model.safetensors").read_bytes()
    assert sum(request.startswith("PUT /large/") for request in server.asked) == 3


@pytest.mark.slow
def test_a_push_that_broke_shows_nothing_and_goes_on_with_what_is_missing(server, run, model):
    (model / "onnx").mkdir()
    (model / "onnx" / "model.onnx").write_bytes(b"small")
    server.cut_uploads, server.cut_over = 1000, 5
    code, said = run("push", model, "anna/tagger")
    assert code == 2
    assert "anna/tagger: the connection to the Hub broke (" in said
    assert "Try again: what has arrived is not sent twice." in said
    assert list(server.repos["anna/tagger"].files) == [".gitattributes"]
    assert list(server.large.values()) == [b"small"]
    server.cut_uploads = 0
    server.asked.clear()
    assert run("push", model, "anna/tagger") == (0, "")  # an empty place of one's own is not taken
    assert sum(request.startswith("PUT /large/") for request in server.asked) == 1
    assert set(server.repos["anna/tagger"].files) == {".gitattributes", "onnx/model.onnx", *PARTS}


# -- fetching ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    return "text.txt"


@pytest.mark.slow
def test_a_private_model_is_fetched_with_what_tunny_knows_of_it_and_then_needs_no_network(server, run, model, text):
    server.create("anna/tagger", {**contents(model), "onnx/model.onnx": b"not fetched"}, private=True)
    expected = run("predict", model, text)
    assert run("predict", "anna/tagger", text) == expected
    assert "onnx" not in "".join(request for request in server.asked if "/resolve/" in request)
    server.asked.clear()
    assert run("predict", "hub:anna/tagger", text, offline="1") == expected
    assert server.asked == []
    code, said = run("predict", "anna/nothing", text, offline="1")
    assert (code, said.startswith("error: anna/nothing: it is not whole in the cache, and the Hub cannot be reached. Give a folder")) == (
        2,
        True,
    )


@pytest.mark.slow
def test_a_revision_is_the_model_of_then(server, run, model, text):
    place = server.create("anna/tagger", contents(model))
    first = list(place.commits)[1]
    place.add({**contents(trained("pos").model)}, "another task")
    assert '"tags"' in run("predict", "anna/tagger", text)[1]
    assert run("predict", f"anna/tagger@{first}", text) == run("predict", model, text)
    code, said = run("predict", "anna/tagger@v9", text)
    assert (code, said.partition(" Give")[0]) == (2, "error: anna/tagger@v9: the Hub has no such revision of it.")


@pytest.mark.slow
def test_a_download_that_breaks_is_resumed_where_it_broke(server, tmp_path):
    weights = random.Random(7).randbytes(25_000_000)  # the library writes ten megabytes at a time
    server.create("anna/tagger", {"config.json": b"{}", "model.safetensors": weights})
    server.cut_downloads = 1
    own = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": server.address, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", "from tunny.core.hub import fetch; print(fetch('anna/tagger'))"]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=120, check=True)
    assert Path(done.stdout.strip(), "model.safetensors").read_bytes() == weights
    ranges = [request.rpartition(" ")[2] for request in server.asked if request.startswith("GET") and "model.safetensors" in request]
    assert ranges[1:] == ["bytes=10485760-"]


@pytest.mark.slow
@pytest.mark.parametrize("token", ["", "hf_bert_writes"])
def test_a_private_model_of_others_is_not_there(server, run, model, text, token):
    server.create("anna/tagger", contents(model), private=True)
    code, said = run("predict", "anna/tagger", text, token=token)
    assert (code, said.partition(" Give")[0]) == (
        2,
        "error: anna/tagger: the Hub has none of this name, or it is private and HF_TOKEN may not see it.",
    )


def test_two_revisions_contradict_each_other():
    with pytest.raises(HubError, match=r"anna/tagger@v1: model\.revision names another one, v2"):
        hub.fetch("anna/tagger@v1", "v2")


# -- pushing while training --------------------------------------------------------------------------------------------


def write_config(tmp_path, tiny_bert, **changes):
    given = {**config("ner", tiny_bert, tmp_path, epochs=3), "checkpoint": {"push": "anna/tagger"}, **changes}
    (tmp_path / "config.json").write_text(json.dumps(given))
    shutil.copyfile(tmp_path / "config.json", tmp_path / "config.yaml")
    return "config.yaml"


@pytest.mark.slow
def test_each_new_best_model_is_pushed_and_at_the_end_the_finished_one(server, run, tiny_bert, tmp_path, text):
    assert run("train", write_config(tmp_path, tiny_bert))[0] == 0
    place = server.repos["anna/tagger"]
    assert place.private
    assert place.messages[-1] == "The best of a finished run"
    logged = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text("utf-8").splitlines()]
    scores = [(line["step"], line["validation/f1"]) for line in logged if "validation/f1" in line]
    best = [
        f"Step {step}: validation/f1 {score}"
        for at, (step, score) in enumerate(scores[:-1])
        if score > max([-1, *(s for _, s in scores[:at])])
    ]
    assert place.messages[1:-1] == best
    assert len(best) >= 1
    assert all(set(files) - {".gitattributes"} == PARTS for files in list(place.commits.values())[1:])
    assert {name: raw for name, raw in place.files.items() if name in PARTS} == contents(tmp_path / "run" / "model")
    first = list(place.commits)[1]
    assert run("predict", f"anna/tagger@{first}", text)[0] == 0
    code, said = run("train", "config.yaml", "--output_dir", "other")
    assert code == 2
    assert said.endswith("error: anna/tagger: this name is taken. Choose another, or update what is there with --update.\n")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_hub_that_takes_nothing_more_does_not_stop_the_training(server, run, tiny_bert, tmp_path):
    server.takes_commits = False
    code, said = run("train", write_config(tmp_path, tiny_bert))
    assert code == 2
    assert "warning: checkpoint.push: anna/tagger: the token may not write there." in said
    assert "error: The run is finished and its model whole; push it with: tunny push " in said
    assert json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))["finished"]
    assert {path.name for path in (tmp_path / "run" / "model").iterdir()} == PARTS


def test_several_seeds_have_no_one_model_to_push(tiny_bert, tmp_path):
    given = {**config("ner", tiny_bert, tmp_path, seeds=[1, 2]), "checkpoint": {"push": "anna/tagger"}}
    with pytest.raises(ConfigError, match=r"checkpoint\.push: takes one model, and train\.seeds trains several"):
        train(load_config(values=given))
