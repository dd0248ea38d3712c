from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.tasks.build import CLASSES, TAGS, labelled, sequence_task, token_task, valued, windows_of
from tunny.core.errors import ConfigError
from tunny.data.example import Example, Span
from tunny.tasks.lessons import OwnLesson, label_groups

EXAMPLES = [
    Example("0", "Marie Curie was born in Warsaw", spans=(Span(0, 11, "PER"), Span(24, 30, "LOC"))),
    Example("1", "Wind from the north", spans=()),
]


# -- tags of words -----------------------------------------------------------------------------------------------------


def test_rows_are_padded_to_the_longest_and_padding_is_neither_seen_nor_learnt(tokenizer):
    lesson = OwnLesson(token_task())
    windows = windows_of(lesson.task, tokenizer, EXAMPLES)
    batch = lesson.batch(windows)
    long, short = (len(window.ids) for window in windows)
    assert batch.inputs["input_ids"].shape == batch.labels.shape == (2, long)
    assert batch.inputs["attention_mask"].tolist() == [[1] * long, [1] * short + [0] * (long - short)]
    assert batch.inputs["input_ids"][1, short:].unique().tolist() == [tokenizer.pad_token_id]
    assert batch.labels[1, short:].unique().tolist() == [-100]
    assert batch.num_tokens == long + short
    assert batch.num_targets == 10


@pytest.mark.parametrize("kind", ["ner", "pos", "chunk"])
def test_the_loss_is_that_of_the_transformers_model(tokenizer, bert, kind):
    if kind == "pos":
        lesson = OwnLesson(token_task("pos", ("NAME", "WORD")))
        examples = [Example("0", "Marie was born", spans=(Span(0, 5, "NAME"), Span(6, 9, "WORD"), Span(10, 14, "WORD")))]
    else:
        lesson, examples = OwnLesson(token_task(kind)), EXAMPLES
    model = bert("Token", len(lesson.task.labels.names))
    batch = lesson.batch(windows_of(lesson.task, tokenizer, examples))
    with torch.no_grad():
        ours = lesson.train_step(model, batch) / batch.num_targets
        theirs = model(**batch.inputs, labels=batch.labels).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_and_smoothing_are_those_of_plain_torch(tokenizer, bert, smoothing):
    lesson = OwnLesson(token_task(class_weights={"PER": 3.0, "O": 0.5}, label_smoothing=smoothing))
    model = bert("Token", len(TAGS))
    batch = lesson.batch(windows_of(lesson.task, tokenizer, EXAMPLES))
    with torch.no_grad():
        ours = lesson.train_step(model, batch) / batch.num_targets
        logits = model(**batch.inputs).logits
        weights = torch.tensor([0.5, 3.0, 3.0, 1.0, 1.0])
        theirs = functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), weight=weights, label_smoothing=smoothing)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_a_type_stands_for_its_tags_and_a_tag_for_itself():
    groups = label_groups(token_task().labels)
    assert groups["PER"] == [1, 2]
    assert groups["B-PER"] == [1]
    assert groups["O"] == [0]


def test_tags_of_pos_are_no_groups_even_with_a_hyphen():
    assert "X" not in label_groups(token_task("pos", ("B-X", "NOUN")).labels)


def test_an_unknown_name_in_class_weights_is_refused_with_a_guess():
    with pytest.raises(ConfigError, match=r"no label 'PERS'; did you mean 'PER'\?"):
        OwnLesson(token_task(class_weights={"PERS": 2.0}))


def test_a_negative_class_weight_is_refused():
    with pytest.raises(ConfigError, match=r"task\.class_weights\.PER: expected a weight of at least 0"):
        OwnLesson(token_task(class_weights={"PER": -1.0}))


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    targets = [0] * 6 + [1] * 3 + [2] + [3] * 2 + [4]
    expected = compute_class_weight("balanced", classes=np.arange(5), y=targets)
    assert OwnLesson(token_task(class_weights="balanced"), Counter(targets)).weights.tolist() == pytest.approx(expected.tolist())


# -- labels of texts ---------------------------------------------------------------------------------------------------


def both_losses(lesson, model, windows, labels):
    batch = lesson.batch(windows)
    with torch.no_grad():
        ours = lesson.train_step(model, batch) / batch.num_targets
        return float(ours), float(model(**batch.inputs, labels=labels(batch)).loss)


def test_the_loss_of_classes_is_that_of_the_transformers_model(tokenizer, bert):
    lesson = OwnLesson(sequence_task("classify", CLASSES))
    model = bert("Sequence", 3, problem_type="single_label_classification")
    ours, theirs = both_losses(
        lesson, model, windows_of(lesson.task, tokenizer, labelled("sea", "land", "sea")), lambda batch: batch.labels
    )
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_the_loss_of_pairs_is_that_of_the_transformers_model_on_its_own_encoding(tokenizer, bert):
    pairs = [("Herring was sold", "it was cod"), ("Nobody knows", "the wind left Bergen in 1954")]
    examples = [Example(str(at), a, text_b=b, labels=(CLASSES[at],)) for at, (a, b) in enumerate(pairs)]
    lesson = OwnLesson(sequence_task("classify", CLASSES))
    model = bert("Sequence", 3, problem_type="single_label_classification")
    batch = lesson.batch(windows_of(lesson.task, tokenizer, examples))
    encoded = tokenizer([a for a, _ in pairs], [b for _, b in pairs], padding=True, return_tensors="pt")
    with torch.no_grad():
        ours = lesson.train_step(model, batch) / batch.num_targets
        theirs = model(**encoded, labels=torch.tensor([0, 1])).loss
    assert batch.inputs["token_type_ids"].tolist() == encoded["token_type_ids"].tolist()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_the_loss_of_many_labels_is_that_of_the_transformers_model(tokenizer, bert):
    lesson = OwnLesson(sequence_task("multilabel", CLASSES))
    model = bert("Sequence", 3, problem_type="multi_label_classification")
    ours, theirs = both_losses(
        lesson, model, windows_of(lesson.task, tokenizer, labelled(("sea", "trade"), (), ("land",))), lambda batch: batch.labels
    )
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_the_loss_of_a_score_is_that_of_the_transformers_model(tokenizer, bert):
    lesson = OwnLesson(sequence_task("regress", ("score",)))
    model = bert("Sequence", 1, problem_type="regression")
    ours, theirs = both_losses(lesson, model, windows_of(lesson.task, tokenizer, valued(0.5, -2.0, 4.0)), lambda batch: batch.labels)
    assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_weights_and_smoothing_of_texts_are_those_of_plain_torch(tokenizer, bert, smoothing):
    lesson = OwnLesson(sequence_task("classify", CLASSES, class_weights={"sea": 4.0, "trade": 0.5}, label_smoothing=smoothing))
    model = bert("Sequence", 3)
    batch = lesson.batch(windows_of(lesson.task, tokenizer, labelled("sea", "land", "trade")))
    with torch.no_grad():
        ours = lesson.train_step(model, batch) / batch.num_targets
        logits = model(**batch.inputs).logits
        theirs = functional.cross_entropy(logits, torch.tensor([0, 1, 2]), weight=torch.tensor([4.0, 1.0, 0.5]), label_smoothing=smoothing)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_weights_of_many_labels_weigh_the_positive_side(tokenizer, bert):
    lesson = OwnLesson(sequence_task("multilabel", CLASSES, class_weights={"land": 5.0}))
    model = bert("Sequence", 3)
    batch = lesson.batch(windows_of(lesson.task, tokenizer, labelled(("land",), (), ("sea", "land"))))
    with torch.no_grad():
        ours = lesson.train_step(model, batch) / batch.num_targets
        logits = model(**batch.inputs).logits
        theirs = functional.binary_cross_entropy_with_logits(logits, batch.labels, pos_weight=torch.tensor([1.0, 5.0, 1.0]))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_smoothing_of_many_labels_draws_targets_to_one_half(tokenizer, bert):
    lesson = OwnLesson(sequence_task("multilabel", CLASSES, label_smoothing=0.2))
    model = bert("Sequence", 3)
    batch = lesson.batch(windows_of(lesson.task, tokenizer, labelled(("land",), (), ("sea", "land"))))
    with torch.no_grad():
        ours = lesson.train_step(model, batch) / batch.num_targets
        logits = model(**batch.inputs).logits
        theirs = functional.binary_cross_entropy_with_logits(logits, torch.where(batch.labels > 0, 0.9, 0.1))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_balanced_weights_of_classes_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    targets = [0] * 7 + [1] * 2 + [2]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    lesson = OwnLesson(sequence_task("classify", CLASSES, class_weights="balanced"), Counter(targets))
    assert lesson.weights.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    ("kind", "extra"), [("classify", {"labels": ("sea",)}), ("multilabel", {"labels": ("sea",)}), ("regress", {"score": 1.0})]
)
def test_the_windows_of_a_long_text_weigh_as_much_as_one_short_text(tokenizer, bert, kind, extra):
    names = ("score",) if kind == "regress" else CLASSES
    lesson = OwnLesson(sequence_task(kind, names))
    example = Example("0", " ".join(["herring and cod"] * 40), **extra)
    windows = windows_of(lesson.task, tokenizer, [example], max_tokens=32, stride=8)
    model = bert("Sequence", len(names), problem_type="single_label_classification" if kind == "classify" else None)
    batch = lesson.batch(windows)
    assert len(windows) > 3
    assert batch.weights.tolist() == pytest.approx([1 / len(windows)] * len(windows))
    assert batch.num_targets == pytest.approx(3 if kind == "multilabel" else 1, rel=1e-6)
    with torch.no_grad():
        whole = float(lesson.train_step(model, batch))
        parts = []
        for window in windows:
            one = lesson.batch([window])
            parts.append(float(lesson.train_step(model, one)))
    assert whole == pytest.approx(sum(parts), rel=1e-5)
