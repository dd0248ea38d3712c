import csv
import json
import math
import signal

import numpy as np
import pytest
import torch
import transformers
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.training.runs import (
    PowerCut,
    cut_at,
    facts,
    files,
    go,
    log,
    manifest,
    memory_for,
    model_bytes,
    settings,
    signal_at,
    weights,
    write_ner,
    write_texts,
)
from tunny.core.errors import Stopped, TrainingFailed
from tunny.data.plan import Budget, plan_epoch


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float) -> bool:
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], rtol=0, atol=tolerance) for name in one)


def losses(folder):
    return [line["train/loss"] for line in log(folder) if "train/loss" in line]


# -- beside a plain PyTorch loop ---------------------------------------------------------------------------------------


def plain_loop(model, collator, features, order, learning_rate):
    """AdamW with transformers' decay groups and linear schedule, mean cross-entropy, clipping at 1."""
    no_decay = [p for name, p in model.named_parameters() if "bias" in name or "LayerNorm" in name]
    decay = [p for name, p in model.named_parameters() if "bias" not in name and "LayerNorm" not in name]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": no_decay, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, math.ceil(0.1 * len(order)), len(order))
    found = []
    model.train()
    for rows in order:
        batch = collator([features[row] for row in rows])
        labels = batch.pop("labels")
        logits = model(**batch).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        found.append(float(loss.detach()))
    return found


def planned(features, batch_size, epochs, seed=42):
    lengths = np.array([len(feature["input_ids"]) for feature in features])
    return [step.rows.tolist() for epoch in range(epochs) for step in plan_epoch(lengths, Budget(batch_size), seed, epoch)]


def labels_of(folder):
    return {name: int(number) for number, name in json.loads((folder / "model" / "config.json").read_text())["id2label"].items()}


def fresh(auto, name, num_labels, seed=42):
    torch.manual_seed(seed)
    return auto.from_pretrained(name, num_labels=num_labels, attn_implementation="eager")


def test_token_training_equals_a_plain_pytorch_loop(tmp_path, steady_bert):
    folder = go(settings(tmp_path, steady_bert, train__epochs=3, data__validation=None))
    ids = labels_of(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(steady_bert)
    features = []
    for block in (tmp_path / "train.conll").read_text("utf-8").strip().split("\n\n"):
        pairs = [line.split() for line in block.splitlines()]
        encoded = tokenizer([word for word, _ in pairs], is_split_into_words=True)
        word_of = encoded.word_ids()
        labels = [
            -100 if word is None or (at and word_of[at - 1] == word) else ids[pairs[word][1]] for at, word in enumerate(word_of)
        ]  # fmt: skip
        features.append({**encoded, "labels": labels})
    model = fresh(transformers.AutoModelForTokenClassification, steady_bert, len(ids))
    expected = plain_loop(model, transformers.DataCollatorForTokenClassification(tokenizer), features, planned(features, 4, 3), 1e-3)
    assert len(expected) == 30
    assert losses(folder) == pytest.approx(expected, abs=1e-5)
    assert close(weights(folder), model.state_dict(), 1e-4)


def test_sequence_training_equals_a_plain_pytorch_loop(tmp_path, steady_bert):
    folder = go(settings(tmp_path, steady_bert, "classify", train__epochs=2, data__validation=None))
    ids = labels_of(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(steady_bert)
    with (tmp_path / "train.csv").open(encoding="utf-8") as file:
        features = [{**tokenizer(row["text"]), "labels": ids[row["label"]]} for row in csv.DictReader(file)]
    model = fresh(transformers.AutoModelForSequenceClassification, steady_bert, 2)
    expected = plain_loop(model, transformers.DataCollatorWithPadding(tokenizer), features, planned(features, 4, 2), 1e-3)
    assert len(expected) == 20
    assert losses(folder) == pytest.approx(expected, abs=1e-5)
    assert close(weights(folder), model.state_dict(), 1e-4)


# -- exact accumulation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ner", "classify"])
@pytest.mark.parametrize("extra", [{}, {"task__class_weights": "balanced", "task__label_smoothing": 0.1}], ids=["plain", "weighted"])
def test_micro_batches_of_any_size_give_the_same_losses_and_weights(tmp_path, steady_bert, kind, extra):
    found = {}
    for limit in (None, 1, 3):
        values = settings(tmp_path, steady_bert, kind, data__validation=None, train__batch_size=8, train__max_steps=6, **extra)
        folder = go({**values, "output_dir": str(tmp_path / f"run-{limit}"), "engine": {"precision": "fp32", "micro_batch_limit": limit}})
        found[limit] = losses(folder), weights(folder)
    for limit in (1, 3):
        assert found[limit][0] == pytest.approx(found[None][0], abs=2e-6)
        assert close(found[limit][1], found[None][1], 1e-5)


def test_loss_of_weighted_classes_is_pytorchs_weighted_mean(tmp_path, steady_bert):
    values = settings(tmp_path, steady_bert, "classify", data__validation=None, train__max_steps=1, train__batch_size=40)
    values["task"]["class_weights"] = {"calm": 0.5, "rough": 3.0}
    folder = go({**values, "engine": {"precision": "fp32", "micro_batch_limit": 7}})
    ids = labels_of(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(steady_bert)
    with (tmp_path / "train.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    model = fresh(transformers.AutoModelForSequenceClassification, steady_bert, 2)
    logits = model(**tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")).logits
    by_id = torch.tensor([0.5, 3.0] if ids["calm"] == 0 else [3.0, 0.5])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([ids[row["label"]] for row in rows]), weight=by_id)
    assert losses(folder) == pytest.approx([float(expected.detach())], abs=1e-6)


def test_out_of_memory_halves_the_micro_batch_and_ends_like_a_limit_set_by_hand(tmp_path, tiny_bert, capsys):
    values = settings(tmp_path, tiny_bert, train__batch_size=8)
    with memory_for(rows=2):
        halved = go({**values, "output_dir": str(tmp_path / "halved")})
    by_hand = go({**values, "output_dir": str(tmp_path / "by-hand"), "engine": {"precision": "fp32", "micro_batch_limit": 2}})
    assert "out of memory; micro-batches now hold at most 2 rows" in capsys.readouterr().err
    assert model_bytes(halved) == model_bytes(by_hand)
    assert losses(halved) == losses(by_hand)


def test_a_resumed_run_keeps_the_halved_micro_batch(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, train__batch_size=8, checkpoint__every_steps=2)
    with memory_for(rows=2):
        whole = go({**values, "output_dir": str(tmp_path / "whole")})
        with cut_at(20), pytest.raises(PowerCut):
            go(values)
    assert model_bytes(go(values, resume=True)) == model_bytes(whole)


def test_a_single_row_out_of_memory_is_a_clear_error(tmp_path, tiny_bert):
    with memory_for(rows=0), pytest.raises(TrainingFailed, match="step 1: out of memory with a single row") as caught:
        go(settings(tmp_path, tiny_bert))
    assert caught.value.exit_code == 2


def test_an_optimizer_that_runs_out_of_memory_is_a_clear_error(tmp_path, tiny_bert):
    def hook(*_):
        raise torch.OutOfMemoryError("no room for the moments")

    handle = register_optimizer_step_pre_hook(hook)
    with pytest.raises(TrainingFailed, match="step 1: out of memory for the optimizer") as caught:
        go(settings(tmp_path, tiny_bert))
    handle.remove()
    assert caught.value.exit_code == 2


# -- what stops a run --------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_its_cause_and_whole_checkpoints(tmp_path, steady_bert):
    values = settings(tmp_path, steady_bert, train__learning_rate=1e30, train__warmup_ratio=0.2, checkpoint__every_steps=1)
    with pytest.raises(TrainingFailed, match=r"the loss became nan.*train.learning_rate is 1e\+30") as caught:
        go(values)
    assert caught.value.exit_code == 2
    newest = max((tmp_path / "run" / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)
    assert (newest / "digests.json").exists()


def test_weights_that_are_not_finite_are_named_before_the_first_step_is_saved(tmp_path, steady_bert):
    broken = transformers.AutoModel.from_pretrained(steady_bert)
    broken.embeddings.word_embeddings.weight.data.fill_(math.nan)
    model = tmp_path / "broken"
    broken.save_pretrained(model)
    transformers.AutoTokenizer.from_pretrained(steady_bert).save_pretrained(model)
    with pytest.raises(TrainingFailed, match=r"step 1: the loss became nan.*not finite to begin with"):
        go(settings(tmp_path, model))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path, steady_bert):
    values = settings(tmp_path, steady_bert, "classify", train__learning_rate=1e30, train__warmup_ratio=0, train__max_steps=1)
    with pytest.raises(TrainingFailed, match="validation/loss became nan"):
        go(values)
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_after_saving_and_the_run_goes_on(tmp_path, tiny_bert, signum, code):
    values = settings(tmp_path, tiny_bert)
    with signal_at(7, signum), pytest.raises(Stopped, match="saved at step 7") as caught:
        go(values)
    assert caught.value.exit_code == code
    assert (tmp_path / "run" / "checkpoints" / "step-7").is_dir()
    assert not (tmp_path / "run" / "model").exists()
    resumed = go(values, resume=True)
    assert manifest(resumed)["resumed_from"] == [7]
    assert model_bytes(resumed) == model_bytes(go({**values, "output_dir": str(tmp_path / "whole")}))


# -- resume ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_run(tiny_bert, tmp_path_factory):
    """An uninterrupted run with dropout, early stopping and checkpoints in the middle of epochs."""
    values = settings(tmp_path_factory.mktemp("whole"), tiny_bert, **RESUMED)
    return go(values)


RESUMED = {"train__epochs": 6, "train__early_stopping_patience": 2, "train__log_every_steps": 3, "checkpoint__every_steps": 4}


@pytest.mark.parametrize("cuts", [(6,), (15, 1, 8), (10, 11, 2)])
def test_an_interrupted_run_ends_byte_identical(tmp_path, tiny_bert, whole_run, cuts):
    values = settings(tmp_path, tiny_bert, **RESUMED)
    for number, forward in enumerate(cuts):
        with cut_at(forward), pytest.raises(PowerCut):
            go(values, resume=number > 0)
    resumed = go(values, resume=True)
    assert model_bytes(resumed) == model_bytes(whole_run)
    assert facts(log(resumed)) == facts(log(whole_run))


def test_each_step_stands_once_in_the_log_of_a_resumed_run(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, checkpoint__every_steps=4)
    with cut_at(8), pytest.raises(PowerCut):
        go(values)
    assert [line["step"] for line in log(go(values, resume=True))] == list(range(1, 21))


def test_time_goes_on_where_the_first_part_stopped(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, checkpoint__every_steps=4)
    with cut_at(8), pytest.raises(PowerCut):
        go(values)
    times = [line["time"] for line in log(go(values, resume=True))]
    assert times == sorted(times)


def test_logging_may_change_on_resume(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, checkpoint__every_steps=4)
    with cut_at(8), pytest.raises(PowerCut):
        go(values)
    resumed = go({**values, "train": {**values["train"], "log_every_steps": 5}}, resume=True)
    assert [line["step"] for line in log(resumed)] == [1, 2, 3, 4, 5, 10, 15, 20]


# -- best model, early stopping, end -----------------------------------------------------------------------------------


def test_the_best_model_is_kept_when_later_epochs_are_worse(tmp_path, tiny_bert):
    values = settings(
        tmp_path, tiny_bert, "classify", train__epochs=4, train__learning_rate=3e-2, train__schedule="constant",
        train__metric_for_best="loss", checkpoint__keep_last=1,
    )  # fmt: skip
    folder = go(values)
    found = {line["step"]: line["validation/loss"] for line in log(folder) if "validation/loss" in line}
    best = min(found, key=found.get)
    assert best < 40
    assert manifest(folder)["best_step"] == best
    assert json.loads((folder / "validation" / "metrics.json").read_text())["metrics"]["loss"] == found[best]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-40"]


def test_the_tasks_own_metric_chooses_the_first_of_its_best_epochs(tmp_path, tiny_bert):
    folder = go(settings(tmp_path, tiny_bert, train__epochs=4, train__learning_rate=1e-2))
    scores = {line["step"]: line["validation/f1"] for line in log(folder) if "validation/f1" in line}
    assert manifest(folder)["best_step"] == max(scores, key=scores.get)
    assert max(scores.values()) > 0


def test_early_stopping_waits_as_many_epochs_as_its_patience(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, train__epochs=9, train__early_stopping_patience=2, train__learning_rate=1e-9)
    folder = go(values)  # nothing is learnt: the first epoch stays the best
    assert [line["epoch"] for line in log(folder) if "validation/f1" in line] == [1, 2, 3]
    assert manifest(folder)["best_step"] == 10


def test_without_validation_data_the_last_state_is_the_model(tmp_path, tiny_bert):
    folder = go(settings(tmp_path, tiny_bert, data__validation=None))
    last = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name.partition("-")[2]))
    assert last.name == "step-20"
    assert manifest(folder)["best_step"] is None
    state = transformers.AutoModelForTokenClassification.from_pretrained(folder / "model").state_dict()
    from safetensors.torch import load_file

    assert close(load_file(last / "model.safetensors"), state, 0)


def test_several_validation_sets_are_scored_by_name_and_the_first_decides(tmp_path, tiny_bert):
    sets = {"harbour": str(write_ner(tmp_path / "a.conll", 9, 700)), "ferry": str(write_ner(tmp_path / "b.conll", 5, 900))}
    folder = go(settings(tmp_path, tiny_bert, data__validation=sets, train__epochs=3, train__learning_rate=1e-2))
    last = log(folder)[-1]
    assert {"harbour/f1", "ferry/f1", "harbour/loss", "ferry/loss"} <= last.keys()
    scores = {line["step"]: line["harbour/f1"] for line in log(folder) if "harbour/f1" in line}
    assert manifest(folder)["best_step"] == max(scores, key=scores.get)
    examples = {name: json.loads((folder / "validation" / name / "metrics.json").read_text())["examples"] for name in sets}
    assert examples == {"harbour": 9, "ferry": 5}


def test_max_steps_ends_in_the_middle_of_an_epoch_with_a_validated_model(tmp_path, tiny_bert):
    folder = go(settings(tmp_path, tiny_bert, train__max_steps=15))
    assert [(line["step"], line["epoch"]) for line in log(folder) if "validation/f1" in line] == [(10, 1.0), (15, 1.5)]
    assert manifest(folder)["steps"] == 15


def test_max_steps_goes_beyond_the_epochs(tmp_path, tiny_bert):
    folder = go(settings(tmp_path, tiny_bert, train__max_steps=23, train__epochs=1))
    assert log(folder)[-1]["step"] == 23


def test_left_over_rows_are_stepped(tmp_path, tiny_bert):
    folder = go(settings(tmp_path, tiny_bert, rows=41, train__epochs=1))
    assert [line["step"] for line in log(folder)] == list(range(1, 12))


# -- freezing and activation checkpointing -----------------------------------------------------------------------------


def test_frozen_embeddings_and_layers_stay_bit_equal_and_the_others_move(tmp_path, tiny_bert):
    folder = go(settings(tmp_path, tiny_bert, model__freeze_embeddings=True, model__freeze_layers=1))
    before, after = transformers.AutoModel.from_pretrained(tiny_bert).state_dict(), weights(folder)
    moved = {name for name, value in before.items() if f"bert.{name}" in after and not torch.equal(value, after[f"bert.{name}"])}
    assert {name for name in moved if name.startswith(("embeddings.", "encoder.layer.0."))} == set()
    expected = {name for name in before if name.startswith("encoder.layer.1.")}
    assert moved >= {name for name in expected if "attention.self.key.bias" not in name}  # its gradient is zero by symmetry


@pytest.mark.parametrize("frozen", [False, True])
def test_activation_checkpointing_gives_the_same_weights(tmp_path, tiny_bert, frozen):
    values = settings(tmp_path, tiny_bert, model__freeze_embeddings=frozen, train__max_steps=8)
    plain = go({**values, "output_dir": str(tmp_path / "plain")})
    recomputed = go({**values, "output_dir": str(tmp_path / "again"), "engine": {"precision": "fp32", "gradient_checkpointing": True}})
    assert losses(recomputed) == losses(plain)
    assert close(weights(recomputed), weights(plain), 1e-6)


def test_gradients_are_clipped_to_the_norm_and_logged_unclipped(tmp_path, steady_bert):
    values = settings(tmp_path, steady_bert, train__max_steps=1, train__warmup_ratio=0, data__validation=None, train__weight_decay=0)
    norms = {}
    for limit in (0, 1e-12):
        folder = go({**values, "output_dir": str(tmp_path / f"{limit}"), "train": {**values["train"], "max_grad_norm": limit}})
        norms[limit] = log(folder)[0]["train/grad_norm"]
        moved = weights(folder)["classifier.bias"].abs().max()
        assert moved > 5e-4 if limit == 0 else moved < 1e-4  # AdamW's first step is rate * g / (|g| + 1e-8)
    assert norms[0] == norms[1e-12] > 0.1


def test_logged_learning_rates_are_those_of_transformers(tmp_path, tiny_bert):
    folder = go(settings(tmp_path, tiny_bert, "classify", train__schedule="cosine"))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, 2, 20)
    expected = []
    for _ in range(20):
        expected.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert [line["train/learning_rate"] for line in log(folder)] == pytest.approx(expected, abs=1e-12)


def test_a_run_is_the_same_twice_and_another_seed_gives_another(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, "classify", train__epochs=1)
    first, again, other = (
        go({**values, "output_dir": str(tmp_path / name), "seed": seed}) for name, seed in [("first", 1), ("again", 1), ("other", 2)]
    )
    assert model_bytes(first) == model_bytes(again) != model_bytes(other)


def test_training_data_that_are_one_example_train(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, "classify", data__labels=["calm", "rough"])
    values["data"]["train"] = str(write_texts(tmp_path / "one.csv", 1))
    assert "model/model.safetensors" in files(go(values))
