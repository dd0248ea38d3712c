import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.tasks.build import CLASSES, columns_of, sequence_task
from tests.tasks.scored import Scored
from tunny.data.example import Example


def test_the_answer_of_a_long_text_is_the_mean_of_its_windows_logits(tokenizer):
    task = sequence_task("classify", CLASSES)
    examples = [Example("0", " ".join(["herring and cod"] * 40)), Example("1", "cod")]
    columns = columns_of(task, tokenizer, examples, max_tokens=32, stride=8)
    logits = list(np.random.default_rng(1).normal(0, 2, (len(columns), 3)).astype(np.float32))
    long, short = task.answers(examples, columns, 0, logits)
    expected = torch.softmax(torch.tensor(np.mean(logits[:-1], axis=0)), -1)
    assert long.scores == pytest.approx(expected.numpy(), abs=1e-6)
    assert long.prediction["label"] == CLASSES[int(expected.argmax())]
    assert long.prediction["score"] == pytest.approx(float(expected.max()), abs=1e-6)
    assert short.scores == pytest.approx(torch.softmax(torch.tensor(logits[-1]), -1).numpy(), abs=1e-6)


def answer(kind, names, example, logits, **settings):
    return sequence_task(kind, names, **settings)._answer(example, np.array(logits, dtype=np.float32))


def test_labels_are_given_from_the_threshold_on_the_likeliest_first():
    found = answer("multilabel", CLASSES, Example("0", "x"), [0.1, -3.0, 2.0])
    assert [item["label"] for item in found.prediction["labels"]] == ["trade", "sea"]
    assert found.prediction["labels"][0]["score"] == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-6)


def test_a_higher_threshold_gives_fewer_labels():
    found = answer("multilabel", CLASSES, Example("0", "x"), [0.1, -3.0, 2.0], threshold=0.6)
    assert [item["label"] for item in found.prediction["labels"]] == ["trade"]


def test_large_logits_of_many_labels_are_no_error():
    found = answer("multilabel", CLASSES, Example("0", "x", labels=("sea",)), [-500.0, 500.0, 0.0])
    assert found.prediction["labels"][0] == {"label": "land", "score": 1.0}
    assert np.isfinite(found.loss)


def test_losses_of_answers_are_those_of_plain_torch():
    logits = [0.3, -1.0, 2.0]
    row = torch.tensor([logits])
    one = answer("classify", CLASSES, Example("0", "x", labels=("land",)), logits)
    many = answer("multilabel", CLASSES, Example("0", "x", labels=("land", "sea")), logits)
    value = answer("regress", ("score",), Example("0", "x", score=2.5), [1.0])
    assert one.loss == pytest.approx(float(functional.cross_entropy(row, torch.tensor([1]))), rel=1e-6)
    expected = functional.binary_cross_entropy_with_logits(row, torch.tensor([[1.0, 1.0, 0.0]]), reduction="sum")
    assert (many.loss, many.num_targets) == (pytest.approx(float(expected), rel=1e-6), 3)
    assert (value.loss, value.num_targets) == (2.25, 1)


def test_a_pair_keeps_both_texts_in_its_answer():
    found = answer("classify", CLASSES, Example("7", "x", text_b="y"), [5.0, 0.0, 0.0]).prediction
    assert (found["id"], found["text"], found["text_b"], found["label"]) == ("7", "x", "y", "sea")


def test_an_unlabelled_text_has_neither_loss_nor_score():
    task = sequence_task("classify", CLASSES)
    example = Example("0", "x")
    found = answer("classify", CLASSES, example, [1.0, 0.0, 0.0])
    scorer = Scored(task.scorer())
    scorer.add(example, found.prediction, found.scores)
    assert found.num_targets == 0
    assert scorer.per_label()["sea"]["support"] == 0


def test_a_gold_class_the_model_does_not_know_is_an_error():
    task = sequence_task("classify", ("sea", "land"))
    scorer = Scored(task.scorer())
    for label in ("sea", "new"):
        example = Example("0", "x", labels=(label,))
        found = answer("classify", ("sea", "land"), example, [1.0, 0.0])
        scorer.add(example, found.prediction, found.scores)
    assert scorer.metrics()["accuracy"] == 0.5
    assert scorer.metrics()["precision"] == 0.0


def test_a_set_with_a_gold_label_the_model_does_not_know_is_never_right():
    task = sequence_task("multilabel", CLASSES)
    scorer = Scored(task.scorer())
    example = Example("0", "x", labels=("new",))
    found = answer("multilabel", CLASSES, example, [-5.0, -5.0, -5.0])
    scorer.add(example, found.prediction, found.scores)
    assert scorer.metrics()["accuracy"] == 0.0


def test_scores_of_values_are_those_of_scipy():
    from scipy import stats

    gold, predicted = [1.0, 2.0, 2.0, 4.0], [0.5, 1.5, 1.0, 3.0]
    scorer = Scored(sequence_task("regress", ("score",)).scorer())
    for truth, guess in zip(gold, predicted, strict=True):
        example = Example("0", "x", score=truth)
        found = answer("regress", ("score",), example, [guess])
        scorer.add(example, found.prediction, found.scores)
    assert scorer.metrics()["pearson"] == pytest.approx(stats.pearsonr(gold, predicted).statistic)
    assert scorer.metrics()["spearman"] == pytest.approx(stats.spearmanr(gold, predicted).statistic)
