"""Whole trainings from the command's side: refusals, locks, disks, kills."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.conftest import disk_full_at
from tests.training.runs import (
    PowerCut,
    cut_at,
    facts,
    files,
    go,
    log,
    manifest,
    model_bytes,
    settings,
    write_ner,
    write_texts,
)
from tunny.config import load_config
from tunny.core.errors import RunError, UserError
from tunny.core.files import digest_file, locked
from tunny.run import prepare, train

EVERY_STEP = {"checkpoint__every_steps": 2}


def interrupted(values, forward=8, **how):
    with cut_at(forward), pytest.raises(PowerCut):
        go(values, **how)


# -- killed ------------------------------------------------------------------------------------------------------------


def start(config, folder, *flags):
    command = [sys.executable, "-m", "tunny", "train", str(config), *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "stderr.txt").open("ab") as errors:
        return subprocess.Popen(command, cwd=folder, stdout=errors, stderr=errors, env=environment)


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not condition():
        time.sleep(0.001)


def live_and_die(config, folder, number, moment):
    """Start or resume a run and kill it: at a random moment of training, while a checkpoint is written, or of starting."""
    before = (folder / "stderr.txt").stat().st_size if (folder / "stderr.txt").exists() else 0
    process = start(config, folder, "--resume")
    kind = ("training", "writing", "training", "starting", "writing")[number % 5]
    if kind == "starting":
        time.sleep(moment.uniform(0.5, 5.0))
    else:
        begun = (b"resuming from", b"no checkpoint yet")
        wait_for(lambda: any(line in (folder / "stderr.txt").read_bytes()[before:] for line in begun), process)
        time.sleep(moment.uniform(0.1, 1.2))
        if kind == "writing":
            wait_for(lambda: any((folder / "run" / "checkpoints").glob(".tunny-tmp-*")), process)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


def killed_and_whole(tmp_path, model, kills, seed, rows, **changes):
    """Return the run killed `kills` times, the uninterrupted one, and how many kills met a living run."""
    values = settings(
        tmp_path, model, rows=rows, train__batch_size=4, train__early_stopping_patience=4, train__learning_rate=2e-4,
        train__log_every_steps=7, checkpoint__every_steps=6, **changes,
    )  # fmt: skip
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    whole = tmp_path / "whole.yaml"
    whole.write_text(yaml.safe_dump({**values, "output_dir": str(tmp_path / "whole")}))
    assert start(whole, tmp_path).wait() == 0
    moment = random.Random(seed)
    alive = sum(live_and_die(config, tmp_path, number, moment) for number in range(kills))
    assert start(config, tmp_path, "--resume").wait() == 0, (tmp_path / "stderr.txt").read_text()[-3000:]
    return tmp_path / "run", tmp_path / "whole", alive


def check_killed(killed, whole):
    assert model_bytes(killed) == model_bytes(whole)
    assert facts(log(killed)) == facts(log(whole))
    assert (killed / "validation" / "predictions.jsonl").read_bytes() == (whole / "validation" / "predictions.jsonl").read_bytes()
    assert not list(killed.rglob(".tunny-tmp-*"))


def test_a_run_killed_twice_ends_byte_identical(tmp_path, tiny_bert):
    killed, whole, alive = killed_and_whole(tmp_path, tiny_bert, 2, seed=1, rows=200, train__epochs=6)
    assert alive == 2
    check_killed(killed, whole)
    assert manifest(killed)["resumed_from"]


@pytest.mark.slow
def test_a_run_killed_ten_times_ends_byte_identical(tmp_path, tiny_bert):
    killed, whole, alive = killed_and_whole(tmp_path, tiny_bert, 10, seed=7, rows=1200, train__epochs=40)
    print("resumed from", manifest(killed)["resumed_from"], "of", manifest(killed)["steps"])
    assert alive == 10
    check_killed(killed, whole)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143)])
def test_a_process_stopped_by_a_signal_exits_with_its_code(tmp_path, tiny_bert, signum, code):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings(tmp_path, tiny_bert, rows=200, train__epochs=50)))
    process = start(config, tmp_path)
    wait_for(lambda: (tmp_path / "run" / "log.jsonl").exists() and log(tmp_path / "run"), process)
    process.send_signal(signum)
    assert process.wait() == code
    said = (tmp_path / "stderr.txt").read_text()
    assert "Go on with --resume" in said
    assert "Traceback" not in said
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) >= 1


# -- resume ------------------------------------------------------------------------------------------------------------


def test_resuming_a_finished_run_changes_nothing(tmp_path, tiny_bert, capsys):
    values = settings(tmp_path, tiny_bert)
    before = files(go(values))
    go(values, resume=True)
    assert files(tmp_path / "run") == before
    assert "this run is finished; nothing to do" in capsys.readouterr().err


def test_resuming_before_the_first_checkpoint_starts_again_and_says_so(tmp_path, tiny_bert, capsys):
    values = settings(tmp_path, tiny_bert)
    interrupted(values, 3)
    folder = go(values, resume=True)
    assert "no checkpoint yet: training starts from the beginning" in capsys.readouterr().err
    assert manifest(folder)["resumed_from"] == []
    assert [line["step"] for line in log(folder)] == list(range(1, 21))


def test_manifest_lists_the_step_of_each_resumption(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, **EVERY_STEP)
    interrupted(values, 6)
    interrupted(values, 7, resume=True)
    assert manifest(go(values, resume=True))["resumed_from"] == [4, 10]


def test_a_run_resumes_from_its_saved_config(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, **EVERY_STEP)
    interrupted(values)
    folder = train(load_config(tmp_path / "run" / "config.yaml", flags=[("train.epochs", "2")]), resume=True)
    assert manifest(folder)["resumed_from"] == [6]


def test_a_folder_that_holds_a_run_is_refused_and_left_as_it_is(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, train__max_steps=2)
    before = files(go(values))
    with pytest.raises(RunError, match=r"already holds a run.*--resume.*--overwrite") as caught:
        go(values)
    assert caught.value.exit_code == 2
    assert files(tmp_path / "run") == before


def test_overwriting_keeps_files_that_are_not_ours(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, train__max_steps=6, **EVERY_STEP)
    folder = go(values)
    (folder / "notes.txt").write_text("mine")
    go({**values, "train": {**values["train"], "max_steps": 2}}, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-2"]
    assert [line["step"] for line in log(folder)] == [1, 2]


def test_folders_that_are_no_run_are_never_replaced(tmp_path, tiny_bert):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "mine.txt").write_text("mine")
    values = {**settings(tmp_path, tiny_bert), "output_dir": str(tmp_path)}
    with pytest.raises(RunError, match="holds test, but no run"):
        go(values, overwrite=True)
    assert (tmp_path / "test" / "mine.txt").read_text() == "mine"


def test_overwriting_with_a_bad_setting_leaves_the_former_run(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, train__max_steps=2)
    before = files(go(values))
    with pytest.raises(UserError, match="metric_for_best"):
        go({**values, "train": {**values["train"], "metric_for_best": "f2"}}, overwrite=True)
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize("change", [("train", "learning_rate", 2e-3), ("task", "label_smoothing", 0.1), ("encode", "max_tokens", 32)])
def test_a_checkpoint_of_another_config_is_refused(tmp_path, tiny_bert, change):
    section, key, value = change
    values = settings(tmp_path, tiny_bert, **EVERY_STEP)
    interrupted(values)
    before = files(tmp_path / "run")
    with pytest.raises(RunError, match="belongs to another config"):
        go({**values, section: {**values[section], key: value}}, resume=True)
    assert files(tmp_path / "run") == before


def test_a_checkpoint_of_other_data_is_refused(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, **EVERY_STEP)
    interrupted(values)
    write_ner(tmp_path / "train.conll", 40, start=1)
    with pytest.raises(RunError, match="belongs to another config"):
        go(values, resume=True)


def damage(path, how):
    if how == "flipped byte":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink()  # others may be linked to it
        path.write_bytes(content)
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flipped byte", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "best.safetensors", "progress.json", "digests.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(tmp_path, tiny_bert, capsys, damaged_run, name, how):
    values, whole = damaged_run(tmp_path)
    newest = tmp_path / "run" / "checkpoints" / "step-14"
    damage(newest / name, how)
    resumed = go(values, resume=True)
    said = capsys.readouterr().err
    assert f"{newest}: {name}" in said
    assert "trying the checkpoint before it" in said
    assert manifest(resumed)["resumed_from"] == [12]
    assert model_bytes(resumed) == whole


@pytest.fixture(scope="module")
def damaged_run(tiny_bert, tmp_path_factory):
    """Give copies of a run interrupted after step 14, and the model that it would have ended with."""
    origin = tmp_path_factory.mktemp("origin")
    # the first epoch is the best, so that its weights are handed from checkpoint to checkpoint
    values = settings(origin, tiny_bert, train__learning_rate=1e-9, train__metric_for_best="f1", **EVERY_STEP)
    whole = model_bytes(go({**values, "output_dir": str(origin / "whole")}))
    interrupted(values, 16)

    def copy(folder):
        shutil.copytree(origin / "run", folder / "run")
        return {**values, "output_dir": str(folder / "run")}, whole

    return copy


def test_the_best_weights_are_never_taken_from_a_damaged_checkpoint(tmp_path, damaged_run):
    values, whole = damaged_run(tmp_path)
    damage(tmp_path / "run" / "checkpoints" / "step-14" / "best.safetensors", "flipped byte")
    resumed = go({**values, "checkpoint": {"every_steps": 1, "keep_last": 3}}, resume=True)  # what decides nothing may change
    assert manifest(resumed)["best_step"] == 10
    assert model_bytes(resumed) == whole


def test_no_whole_checkpoint_left_is_an_error(tmp_path, damaged_run):
    values, _ = damaged_run(tmp_path)
    for folder in (tmp_path / "run" / "checkpoints").iterdir():
        damage(folder / "model.safetensors", "missing")
    with pytest.raises(RunError, match="no whole checkpoint is left to resume from") as caught:
        go(values, resume=True)
    assert caught.value.exit_code == 2


def test_a_checkpoint_of_a_newer_format_is_refused_in_words(tmp_path, damaged_run):
    values, _ = damaged_run(tmp_path)
    folder = tmp_path / "run" / "checkpoints" / "step-14"
    progress = json.loads((folder / "progress.json").read_text())
    (folder / "progress.json").write_text(json.dumps({**progress, "format_version": 99}))
    digests = json.loads((folder / "digests.json").read_text())
    (folder / "digests.json").write_text(json.dumps({**digests, "progress.json": digest_file(folder / "progress.json")}))
    with pytest.raises(RunError, match=r"format version 99.*Update Tunny"):
        go(values, resume=True)
    assert folder.is_dir()


def test_a_resumed_run_keeps_the_precision_it_began_with(tmp_path, tiny_bert, capsys):
    values = settings(tmp_path, tiny_bert, **EVERY_STEP)
    interrupted({**values, "engine": {"precision": "bf16"}})
    go({**values, "engine": {"precision": "fp32"}}, resume=True)
    assert "precision: bf16 (as the run began)" in capsys.readouterr().err


# -- one run a folder --------------------------------------------------------------------------------------------------


def test_the_second_of_two_runs_in_one_folder_is_refused_naming_the_first(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert)
    with locked(tmp_path / "run"), pytest.raises(RunError, match=f"in use by process {os.getpid()}") as caught:
        go(values)
    assert caught.value.exit_code == 2


# -- nothing half-written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model__name": "./no-such-model"}, "no such model folder"),
        ({"encode__max_tokens": 512}, "takes at most 130 tokens"),
        ({"train__metric_for_best": "f2"}, "train.metric_for_best: expected one of .*found 'f2'"),
        ({"engine__device": "cuda:31"}, "engine.device: cuda:31 was asked for"),
        ({"engine__device": "tpu-pod"}, "engine.device: expected auto, cpu, cuda"),
        ({"engine__device": "meta"}, "engine.device: expected auto, cpu, cuda"),
        ({"engine__precision": "fp16"}, "fp16 is for GPUs"),
        ({"data__train": "absent.conll"}, "absent.conll"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(tmp_path, tiny_bert, change, message):
    values = settings(tmp_path, tiny_bert, **{"engine__device": "cpu", **change})
    with pytest.raises(UserError, match=message) as caught:
        go(values)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_bad_data_leave_no_output_folder(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert)
    (tmp_path / "train.conll").write_text("Paris B-LOC\nBerlin\n")
    with pytest.raises(UserError, match=r"train\.conll:2"):
        go({**values, "output_dir": str(tmp_path / "deep" / "er" / "run")})
    assert not (tmp_path / "deep").exists()


def test_a_model_without_a_fast_tokenizer_is_refused(tmp_path, tiny_bert):
    model = tmp_path / "slow"
    shutil.copytree(tiny_bert, model)
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").unlink()
    (model / "config.json").write_text(json.dumps({**json.loads((model / "config.json").read_text()), "model_type": "canine"}))
    with pytest.raises(UserError, match="has no fast tokenizer"):
        go(settings(tmp_path, model))
    assert not (tmp_path / "run").exists()


def test_too_little_disk_space_is_said_before_anything_is_written(tmp_path, tiny_bert, monkeypatch):
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    with pytest.raises(RunError, match=r"training needs about .* MiB are free") as caught:
        go(settings(tmp_path, tiny_bert))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_while_saving_leaves_no_half_checkpoint(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, **EVERY_STEP)
    with disk_full_at(20_000), pytest.raises(RunError, match="cannot be written") as caught:  # less than the weights
        go(values)
    assert caught.value.exit_code == 2
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    assert (go(values, resume=True) / "model").is_dir()


def test_a_disk_that_fills_up_while_logging_is_a_clear_error(tmp_path, tiny_bert, capsys):
    values = settings(tmp_path, tiny_bert, rows=200, train__batch_size=1)
    prepare(load_config(values=values))
    with disk_full_at(20_000), pytest.raises(RunError, match="cannot be written") as caught:  # enough for the log's first lines
        go(values)
    assert caught.value.exit_code == 2
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().partition("\n")[0])["step"] == 1
    assert not (tmp_path / "run" / "checkpoints").exists()


# -- a second run, memory ----------------------------------------------------------------------------------------------


def test_a_second_run_on_the_same_data_tokenises_nothing(tmp_path, tiny_bert, capsys):
    values = settings(tmp_path, tiny_bert, train__max_steps=1)
    go(values)
    assert "nothing to tokenise" not in capsys.readouterr().err
    go(values, overwrite=True)
    said = capsys.readouterr().err
    assert "train: encoded data found in the cache, nothing to tokenise" in said
    assert "validation: encoded data found in the cache, nothing to tokenise" in said


PEAK = """
import resource, sys
from tunny import run
from tunny.config import load_config
run.train(load_config(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_of_training_does_not_grow_with_the_data(tmp_path, tiny_bert):
    peaks = {}
    for rows in (2_000, 200_000):
        values = settings(tmp_path, tiny_bert, "classify", rows=rows, train__max_steps=40, data__validation=None, train__batch_size=16)
        config = tmp_path / f"{rows}.yaml"
        config.write_text(yaml.safe_dump({**values, "output_dir": str(tmp_path / f"run-{rows}")}))
        for again in (False, True):  # the second time, data come from the cache: what is measured is training
            shutil.rmtree(tmp_path / f"run-{rows}", ignore_errors=True)
            done = subprocess.run([sys.executable, "-c", PEAK, config], capture_output=True, text=True, check=True)
            peaks[rows, again] = float(done.stdout)
    print("peak MiB by (rows, from the cache):", peaks)
    assert peaks[200_000, True] - peaks[2_000, True] < 100


def test_training_rows_are_those_of_the_file(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, "classify", train__max_steps=1)
    write_texts(tmp_path / "train.csv", 33)
    said = (go(values) / "model" / "README.md").read_text()
    assert "33" in said
