import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from torch import nn

from tests.tasks.build import PADDING, sequence_task, token_task, windows_of
from tests.tiny import FAMILIES, make_model
from tunny.core.errors import ConfigError, ModelError
from tunny.data.example import Example, Span
from tunny.data.store import LOGITS, LogitStore, write_batches
from tunny.tasks.distill import Distillation, Layers
from tunny.tasks.distill_losses import of_answers, of_attentions, of_states
from tunny.tasks.lessons import OwnLesson
from tunny.tasks.settings import DistillSettings
from tunny.tasks.student import add_projection, check_student, load_finished_weights, student_of, teaching_layers

LN3 = math.log(3)
THREE_TO_ONE = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)  # KL of (3/4, 1/4) from (1/2, 1/2)


def settings(**changes):
    return DistillSettings(teacher="teacher", **{"student_layers": [0], **changes})


# -- losses ------------------------------------------------------------------------------------------------------------


def test_the_loss_of_answers_is_the_divergence_of_softened_probabilities_times_the_squared_temperature():
    student, teacher = torch.zeros(1, 2), torch.tensor([[2 * LN3, 0.0]])  # at temperature 2 the teacher says 3/4
    found = of_answers(student, teacher, torch.ones(1), "classify", 2.0)
    assert float(found) == pytest.approx(4 * THREE_TO_ONE)


def test_positions_without_a_share_have_no_loss_of_answers():
    student = torch.tensor([[[0.0, 0.0], [9.0, -9.0], [5.0, 1.0]]])
    teacher = torch.tensor([[[LN3, 0.0], [-9.0, 9.0], [0.0, 0.0]]])
    found = of_answers(student, teacher, torch.tensor([[1.0, 0.0, 0.0]]), "ner", 1.0)
    assert float(found) == pytest.approx(THREE_TO_ONE)


def test_of_several_labels_each_has_a_divergence_of_its_own():
    student, teacher = torch.zeros(1, 3), torch.tensor([[LN3, -LN3, 0.0]])  # 3/4, 1/4 and 1/2
    assert float(of_answers(student, teacher, torch.tensor([0.5]), "multilabel", 1.0)) == pytest.approx(THREE_TO_ONE)


def test_the_loss_of_a_value_is_its_squared_difference_at_any_temperature():
    assert float(of_answers(torch.tensor([[1.0], [4.0]]), torch.tensor([[3.0], [1.0]]), torch.tensor([1.0, 0.5]), "regress", 3.0)) == 8.5


def test_the_loss_of_states_is_the_squared_distance_of_directions_over_real_tokens():
    right, up = [1.0, 0.0], [0.0, 1.0]
    student = torch.tensor([[right, right, right], [up, right, up]])
    teacher = torch.tensor([[[7.0, 0.0], up, [-5.0, 0.0]], [up, right, right]])  # distances 0, 2, 4 and 0, 0, 2
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    assert of_states([student], [teacher], mask).tolist() == pytest.approx([2.0, 0.0])
    assert of_states([student, student], [teacher, student], mask).tolist() == pytest.approx([1.0, 0.0])


def test_the_loss_of_attentions_is_the_squared_distance_over_real_tokens():
    student = torch.tensor([[[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [[0.0, 1.0, 0.7], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]]]])
    teacher = torch.tensor([[[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.3, 0.3, 0.4]]]])
    mask = torch.tensor([[1.0, 1.0, 0.0]])  # of the first head 1/2 and 0, of the second 0 and 2; the 0.7 looks at padding
    assert of_attentions([student], [teacher], mask).tolist() == pytest.approx([(0.25 + 1.0) / 2])


def test_attentions_of_different_numbers_of_heads_are_compared_by_their_means():
    one, two = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]]), torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]])
    assert of_attentions([one], [two], torch.ones(1, 2)).tolist() == pytest.approx([0.25])  # rows 0 and 2 * (1/2)**2


# -- the task ----------------------------------------------------------------------------------------------------------


class Fixed(nn.Module):
    """A model whose outputs are given."""

    def __init__(self, logits, hidden_states=None, attentions=None):
        super().__init__()
        self.found = SimpleNamespace(logits=logits, hidden_states=hidden_states, attentions=attentions)

    def forward(self, **_):
        return self.found


def taught(folder, rows, num_labels):
    """Write a teacher's logits, a list of rows (W, K) for each example."""
    lists = pa.array([np.asarray(row, np.float32).ravel() for row in rows], pa.list_(pa.float32()))
    write_batches(folder / "logits.arrow", LOGITS, [pa.RecordBatch.from_arrays([lists], schema=LOGITS)])
    return LogitStore(num_labels, folder / "logits.arrow")


NAMES = ("O", "B-X", "I-X")


@pytest.fixture
def words(tokenizer, tmp_path):
    """Two texts with words of one token and more; the teacher has no answer for the last word of the first."""
    examples = [Example("a", "Marie left Warsaw", spans=(Span(0, 5, "X"),)), Example("b", "Lerwick")]  # the second has no labels
    task = token_task(names=NAMES)
    return task, windows_of(task, tokenizer, examples), taught(tmp_path, [[[LN3, 0, 0], [0, 0, 0], [np.nan] * 3], [[0, LN3, 0]]], 3)


def test_only_the_token_that_answers_a_word_learns_and_only_what_the_teacher_answered(words):
    task, windows, store = words
    batch = Distillation(OwnLesson(task), settings(), store, 1).batch(windows)
    first = [[at for at, word in enumerate(window.words) if word >= 0] for window in windows]
    assert [row.nonzero().flatten().tolist() for row in batch.shares] == [first[0][:2], first[1]]
    assert batch.num_targets == 3.0
    assert batch.taught[1, first[1][0]].tolist() == pytest.approx([0.0, LN3, 0.0])


def test_the_loss_of_words_is_that_of_the_teacher_and_that_of_the_labels(words):
    task, windows, store = words
    lesson = Distillation(OwnLesson(task), settings(losses={"logits": 1.0, "labels": 0.5}, temperature=1.0), store, 1)
    batch = lesson.batch(windows)
    logits = torch.full((*batch.labels.shape, 3), 50.0)  # padding and pieces inside words are far off
    logits[..., 1] = -50.0
    own = batch.shares > 0
    logits[own | (batch.labels >= 0)] = 0.0
    p = torch.tensor([0.6, 0.2, 0.2])  # of a softmax over ln 3, 0, 0
    divergence = float((p * (p * 3).log()).sum())  # from a third each
    expected = 2 * divergence + 0.5 * 3 * math.log(3)  # two words where the teacher is sure, three with labels
    assert float(lesson.train_step(Fixed(logits), batch)) == pytest.approx(expected, rel=1e-5)


def test_layers_count_as_their_mean_over_tokens_for_each_target(words):
    task, windows, store = words
    student, teacher = torch.zeros(2, 1, 2), torch.zeros(2, 1, 2)
    student[..., 0], teacher[..., 1] = 1.0, 1.0  # at right angles: 2
    width = max(len(window.ids) for window in windows)
    states, shown = student.expand(2, width, 2), teacher.expand(2, width, 2)
    attention = torch.eye(width)[None, None].expand(2, 1, width, width)
    uniform = torch.full_like(attention, 1 / width)
    other = Fixed(None, (states, states, shown), (attention, uniform))
    weights = {"logits": 0.0, "labels": 0.0, "hidden_states": 1.0, "attentions": 10.0}
    lesson = Distillation(OwnLesson(task), settings(losses=weights), store, 1, Layers(other, task.padding, [1]))
    batch = lesson.batch(windows)
    found = lesson.train_step(Fixed(torch.zeros(2, width, 3), (shown, states), (attention,)), batch)
    lengths = batch.inputs["attention_mask"].sum(1).tolist()
    rows = [(1 - 1 / width) ** 2 + (length - 1) / width**2 for length in lengths]  # one of T is 1, real others are 0, against 1/T
    targets = [2, 1]
    assert float(found) == pytest.approx(2.0 * sum(targets) + 10 * sum(n * row for n, row in zip(targets, rows, strict=True)), rel=1e-5)


@pytest.mark.parametrize(("kind", "labels", "unlabelled", "expected"), [
    ("classify", {"labels": ("b",)}, {}, math.log(2)),
    ("multilabel", {"labels": ("b",)}, {}, 2 * math.log(2)),
    ("regress", {"score": 3.0}, {}, 9.0),
])  # fmt: skip
def test_texts_behind_the_labelled_ones_have_no_loss_of_labels(tokenizer, tmp_path, kind, labels, unlabelled, expected):
    names = ("score",) if kind == "regress" else ("a", "b")
    task = sequence_task(kind, names)
    windows = windows_of(task, tokenizer, [Example("1", "cod", **labels), Example("2", "herring", **unlabelled)])
    lesson = Distillation(
        OwnLesson(task), settings(losses={"logits": 0.0, "labels": 1.0}), taught(tmp_path, [[[0.0] * len(names)]] * 2, len(names)), 1
    )
    batch = lesson.batch([windows[0], windows[1]._replace(example=1)])
    assert float(lesson.train_step(Fixed(torch.zeros(2, len(names))), batch)) == pytest.approx(expected)
    assert batch.num_targets == (4.0 if kind == "multilabel" else 2.0)


def test_windows_of_a_text_learn_its_answer_together_once(tokenizer, tmp_path):
    task = sequence_task("classify", ("a", "b"))
    windows = windows_of(task, tokenizer, [Example("1", "cod and herring " * 12, labels=("a",))], max_tokens=16, stride=4)
    lesson = Distillation(OwnLesson(task), settings(losses={"labels": 0.0}, temperature=1.0), taught(tmp_path, [[[LN3, 0.0]]], 2), 1)
    batch = lesson.batch(windows)
    assert len(windows) > 2
    assert float(lesson.train_step(Fixed(torch.zeros(len(windows), 2)), batch)) == pytest.approx(THREE_TO_ONE, rel=1e-5)
    assert batch.num_targets == pytest.approx(1.0)


# -- students ----------------------------------------------------------------------------------------------------------


def tagger(family, **config):
    base = make_model(family, 100)
    base.config.num_labels = 3
    for name, value in config.items():
        setattr(base.config, name, value)
    return transformers.AutoModelForTokenClassification.from_config(base.config).eval()


def states(model):
    ids = torch.tensor([[2, 8, 9, 10, 3], [2, 11, 3, 0, 0]])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=(ids > 0).long(), output_hidden_states=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_of_the_first_layers_begins_with_what_these_give(family):
    model = tagger(family)
    student = student_of(model, settings(student_layers=[0])).eval()
    found, given = states(student), states(model)
    assert len(found.hidden_states) == 2
    assert torch.equal(found.hidden_states[0], given.hidden_states[0])
    if family != "modernbert":  # whose last state is behind the final norm
        assert torch.equal(found.hidden_states[1], given.hidden_states[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_of_all_layers_answers_as_the_teacher_and_can_be_loaded_again(family, tmp_path):
    model = tagger(family)
    student = student_of(model, settings(student_layers=[0, 1])).eval()
    assert torch.equal(states(student).logits, states(model).logits)
    student.save_pretrained(tmp_path)
    again = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert torch.equal(states(again).logits, states(model).logits)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("albert", "modernbert")])
def test_a_layer_that_is_kept_has_the_teachers_weights_at_its_new_place(family):
    model = tagger(family)
    student, own = student_of(model, settings(student_layers=[1])), model.state_dict()
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, own[name.replace("layer.0.", "layer.1.")]), name


def test_a_layer_that_cannot_stand_first_is_refused():
    with pytest.raises(ModelError, match=r"layers 1 make no modernbert model .* Keep layer 0"):
        student_of(tagger("modernbert"), settings(student_layers=[1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_narrower_student_has_heads_of_the_same_size_and_the_first_numbers(family, tmp_path):
    model = tagger(family)
    student = student_of(model, settings(student_layers=None, student_width=16)).eval()
    assert student.config.num_attention_heads == 2
    assert states(student).hidden_states[-1].shape == (2, 5, 16)
    own = model.state_dict()
    assert all(torch.equal(tensor, own[name][tuple(map(slice, tensor.shape))]) for name, tensor in student.state_dict().items())
    student.save_pretrained(tmp_path)
    again = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert torch.equal(states(again).logits, states(student).logits)


@pytest.mark.parametrize(("changes", "message"), [
    ({"student_layers": [0, 2, 7]}, r"expected layers of T, which has 2 \(0 to 1\), found 2, 7"),
    ({"student_width": 32}, r"expected less than the 32 of T and a multiple of the 8 of a head, found 32. Set 24"),
    ({"student_width": 3}, r"found 3. Set 8"),
])  # fmt: skip
def test_layers_and_widths_that_there_are_not_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_student(make_model("bert", 100).config, settings(**changes), "T")


def test_layers_are_compared_with_those_they_were_made_of_or_evenly_to_the_last():
    assert teaching_layers(3, 6, [0, 2, 5]) == [0, 2, 5]
    assert teaching_layers(3, 6, None) == [1, 3, 5]
    assert teaching_layers(2, 12, None) == [5, 11]
    assert teaching_layers(4, 6, None) == [1, 2, 4, 5]
    assert teaching_layers(3, 2, None) == [0, 1, 1]


def test_a_projection_widens_the_states_and_learns_but_does_not_come_into_the_model():
    student = student_of(tagger("bert"), settings(student_width=16))
    names = set(student.state_dict())
    add_projection(student, 32)
    student.eval()
    found = states(student).hidden_states[-1]
    assert found.shape == (2, 5, 32)
    assert not found[..., 16:].any()  # at first the student's own numbers
    student(input_ids=torch.tensor([[2, 8, 3]]), output_hidden_states=True).hidden_states[-1].square().sum().backward()
    assert student.distill_projection.weight.grad.any()
    assert set(load_finished_weights(student, student.state_dict())) == names == set(student.state_dict())
    assert PADDING.pad_id == 0
