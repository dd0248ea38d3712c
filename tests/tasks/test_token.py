import numpy as np
import pytest
import torch

from tests.tasks.build import TAGS, columns_of, token_task
from tests.tasks.scored import Scored
from tunny.data.example import Example, Span
from tunny.data.words import words_of
from tunny.tasks import token
from tunny.tasks.base import Answer
from tunny.tasks.lessons import OwnLesson

EXAMPLES = [
    Example("0", "Marie Curie was born in Warsaw", spans=(Span(0, 11, "PER"), Span(24, 30, "LOC"))),
    Example("1", "Wind from the north", spans=()),
]
ALL_O = [Example("0", "Wind from the north", spans=())]


def logits_for(task, columns, words, tags, sure=30.0):
    """Logits that are certain of one tag a word at its own token, noise elsewhere."""
    found = []
    random = np.random.default_rng(3)
    for at in range(len(columns)):
        window = columns[at]
        logits = random.normal(0, 5, (len(window.ids), len(task.labels.names))).astype(np.float32)
        for place, word in enumerate(window.words):
            if word >= 0:
                logits[place] = -sure
                logits[place, task.labels.ids[tags[word]]] = sure
        found.append(logits)
    return found


def test_answers_give_exact_characters_labels_and_scores(tokenizer):
    task = token_task()
    columns = columns_of(task, tokenizer, EXAMPLES[:1])
    logits = logits_for(task, columns, 6, ["B-PER", "I-PER", "O", "O", "O", "B-LOC"])
    [answer] = task.answers(EXAMPLES[:1], columns, 0, logits)
    assert answer.prediction == {
        "id": "0",
        "text": EXAMPLES[0].text,
        "spans": [{"start": 0, "end": 11, "label": "PER", "score": 1.0}, {"start": 24, "end": 30, "label": "LOC", "score": 1.0}],
    }
    assert answer.num_targets == 6
    assert answer.loss == pytest.approx(0.0, abs=1e-6)


def test_the_loss_of_answers_is_the_cross_entropy_at_the_words_own_tokens(tokenizer, bert):
    task = token_task()
    model = bert("Token", len(TAGS))
    columns = columns_of(task, tokenizer, EXAMPLES)
    batch = OwnLesson(task).batch([columns[0], columns[1]])
    with torch.no_grad():
        found = model(**batch.inputs, labels=batch.labels)
    answers = task.answers(EXAMPLES, columns, 0, [found.logits[at, : columns.lengths[at]].numpy() for at in range(2)])
    assert sum(answer.loss for answer in answers) / sum(answer.num_targets for answer in answers) == pytest.approx(
        float(found.loss), rel=1e-5
    )


def test_a_span_forced_against_hopeless_odds_has_the_score_zero(tokenizer):
    task = token_task(names=("O", "B-PER", "I-PER"))
    columns = columns_of(task, tokenizer, ALL_O)
    logits = logits_for(task, columns, 4, ["O", "I-PER", "I-PER", "O"], sure=300.0)
    [answer] = task.answers(ALL_O, columns, 0, logits)
    assert {span["score"] for span in answer.prediction["spans"]} <= {0.0}


def test_an_entity_across_window_edges_is_found_once(tokenizer):
    text = " ".join(["cod"] * 30 + ["Marie", "Curie"] + ["cod"] * 300 + ["Paris"])
    example = Example("0", text, spans=())
    task = token_task()
    columns = columns_of(task, tokenizer, [example], max_tokens=32, stride=8)
    words = words_of(example)
    tags = ["B-PER" if at == 30 else "I-PER" if at == 31 else "B-LOC" if at == len(words) - 1 else "O" for at in range(len(words))]
    [answer] = task.answers([example], columns, 0, logits_for(task, columns, len(words), tags))
    assert [(text[span["start"] : span["end"]], span["label"]) for span in answer.prediction["spans"]] == [
        ("Marie Curie", "PER"),
        ("Paris", "LOC"),
    ]


def test_each_word_is_answered_in_exactly_one_window(tokenizer):
    example = Example("0", " ".join(["herring and cod"] * 200), spans=())
    columns = columns_of(token_task(), tokenizer, [example], max_tokens=32, stride=8)
    answered = np.concatenate([columns[at].words[columns[at].words >= 0] for at in range(len(columns))])
    assert sorted(answered.tolist()) == list(range(600))


def scored(task, examples, columns, logits):
    scorer = Scored(task.scorer())
    for example, answer in zip(examples, task.answers(examples, columns, 0, logits), strict=True):
        scorer.add(example, answer.prediction)
    return scorer


def test_metrics_of_a_perfect_answer_are_one(tokenizer):
    task = token_task()
    columns = columns_of(task, tokenizer, EXAMPLES[:1])
    scorer = scored(task, EXAMPLES[:1], columns, logits_for(task, columns, 6, ["B-PER", "I-PER", "O", "O", "O", "B-LOC"]))
    assert scorer.metrics() == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "token_f1": 1.0, "token_accuracy": 1.0}


def test_metrics_of_half_an_entity_by_hand(tokenizer):
    # gold PER PER O O O LOC, answer PER O O O O LOC: one entity of two, two of three entity words, five of six words
    task = token_task()
    columns = columns_of(task, tokenizer, EXAMPLES[:1])
    found = scored(task, EXAMPLES[:1], columns, logits_for(task, columns, 6, ["B-PER", "O", "O", "O", "O", "B-LOC"])).metrics()
    assert found["f1"] == 0.5
    assert found["token_f1"] == pytest.approx(0.8)
    assert found["token_accuracy"] == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("names", "tags"),
    [
        (("I-LOC", "O", "I-PER"), ["I-PER", "I-PER", "O", "O", "O", "I-LOC"]),
        (("S-LOC", "B-PER", "E-PER", "O", "I-PER", "S-PER"), ["B-PER", "E-PER", "O", "O", "O", "S-LOC"]),
        (("O", "U-LOC", "B-PER", "L-PER"), ["B-PER", "L-PER", "O", "O", "O", "U-LOC"]),
    ],
)
def test_a_model_of_another_scheme_is_scored_as_if_it_spoke_iob2(tokenizer, names, tags):
    task = token_task(names=names)
    columns = columns_of(task, tokenizer, EXAMPLES[:1])
    scorer = scored(task, EXAMPLES[:1], columns, logits_for(task, columns, 6, tags))
    assert set(scorer.metrics().values()) == {1.0}
    assert scorer.per_label()["PER"]["support"] == 1


def test_a_model_of_another_scheme_has_no_loss_rather_than_a_wrong_one(tokenizer):
    task = token_task(names=("O", "I-PER", "I-LOC"))
    columns = columns_of(task, tokenizer, EXAMPLES[:1])
    [answer] = task.answers(EXAMPLES[:1], columns, 0, logits_for(task, columns, 6, ["O"] * 6))
    assert answer.num_targets == 0


def test_pos_scores_are_those_of_scikit_learn_and_unknown_tags_are_errors(tokenizer):
    from sklearn.metrics import f1_score

    gold = ["NAME", "WORD", "NEW", "WORD"]
    example = Example(
        "0", "Wind from the north", spans=(Span(0, 4, gold[0]), Span(5, 9, gold[1]), Span(10, 13, gold[2]), Span(14, 19, gold[3]))
    )
    answered = ["NAME", "WORD", "WORD", "NAME"]
    task = token_task("pos", ("NAME", "WORD"))
    columns = columns_of(task, tokenizer, [example])
    scorer = scored(task, [example], columns, logits_for(task, columns, 4, answered))
    assert scorer.metrics()["token_accuracy"] == 0.5
    assert scorer.metrics()["macro_f1"] == pytest.approx(f1_score(gold, answered, average="macro", zero_division=0))
    assert scorer.per_label()["NEW"]["recall"] == 0.0


def test_pos_answers_hold_every_word_with_its_tag(tokenizer):
    example = Example("0", "Wind from the north")
    task = token_task("pos", ("NAME", "WORD"))
    columns = columns_of(task, tokenizer, [example])
    [answer] = task.answers([example], columns, 0, logits_for(task, columns, 4, ["WORD", "NAME", "WORD", "NAME"]))
    assert answer.prediction == {
        "id": "0", "text": example.text, "words": [[0, 4], [5, 9], [10, 13], [14, 19]], "tags": ["WORD", "NAME", "WORD", "NAME"],
    }  # fmt: skip


def test_words_without_gold_tags_are_not_scored(tokenizer):
    example = Example("0", "Wind from", spans=(Span(0, 4, "NAME"),))
    task = token_task("pos", ("NAME", "WORD"))
    columns = columns_of(task, tokenizer, [example])
    assert scored(task, [example], columns, logits_for(task, columns, 2, ["NAME", "NAME"])).metrics()["token_accuracy"] == 1.0


def test_an_unlabelled_text_is_answered_and_not_scored(tokenizer):
    example = Example("0", "Wind from the north")
    task = token_task()
    columns = columns_of(task, tokenizer, [example])
    [answer] = task.answers([example], columns, 0, logits_for(task, columns, 4, ["B-PER", "O", "O", "O"]))
    scorer = Scored(task.scorer())
    scorer.add(example, answer.prediction)
    assert answer.num_targets == 0
    assert scorer.per_label() == {}


def test_answers_know_nothing_of_gold(tokenizer):
    task = token_task()
    bare = [Example(example.id, example.text) for example in EXAMPLES]
    columns = columns_of(task, tokenizer, EXAMPLES)
    logits = logits_for(task, columns, 6, ["B-PER", "I-PER", "O", "O", "O", "B-LOC"])
    with_gold, without = task.answers(EXAMPLES, columns, 0, logits), task.answers(bare, columns_of(task, tokenizer, bare), 0, logits)
    assert isinstance(with_gold[0], Answer)
    assert [answer.prediction for answer in with_gold] == [answer.prediction for answer in without]


def test_words_near_a_cut_are_those_with_little_context_where_the_text_goes_on(tokenizer, monkeypatch):
    monkeypatch.setattr(token, "EDGE", 6)
    task, examples = token_task(), [Example("0", " ".join(["cod"] * 60), spans=()), Example("1", "cod", spans=())]
    columns = columns_of(task, tokenizer, examples, max_tokens=32, stride=8)
    long, short = task.answers(examples, columns, 0, logits_for(task, columns, 60, ["O"] * 60))
    window = [columns[at] for at in range(len(columns)) if columns.example[at] == 0]
    expected = {
        int(word)
        for number, one in enumerate(window)
        for place, word in enumerate(one.words)
        if word >= 0 and ((number and place < 6) or (number < len(window) - 1 and len(one.ids) - 1 - place < 6))
    }
    assert set(np.flatnonzero(long.near_cut).tolist()) == expected
    assert len(expected) > 2
    assert short.near_cut is None
