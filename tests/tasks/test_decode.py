import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunny.data.tags import scheme_of, split_tag
from tunny.tasks.decode import best_path, log_softmax, tag_rules

SCHEMES = {
    "IOB1": ("O", "B-X", "I-X", "I-Y"),
    "IO": ("I-X", "O", "I-Y"),
    "IOB2": ("O", "B-X", "I-X", "B-Y", "I-Y"),
    "BIOES": ("S-X", "O", "E-X", "B-X", "I-X", "S-Y"),
    "BILOU": ("O", "B-X", "I-X", "L-X", "U-X"),
    "none": ("NOUN", "VERB", "X"),
}


def rules_of(kind):
    # that B- stands only between neighbours of one type cannot be told from names
    return tag_rules(SCHEMES[kind], "IOB1" if kind == "IOB1" else scheme_of(SCHEMES[kind]))


def is_valid(tags, kind):
    """By hand, straight from the definitions: an inside needs its beginning, in the long schemes every span needs its end."""
    parts = [split_tag(tag.replace("L-", "E-").replace("U-", "S-")) for tag in tags] if kind != "none" else []
    for before, after in itertools.pairwise([("O", ""), *parts, ("O", "")]):
        same = before[1] == after[1]
        if kind == "IOB2" and after[0] == "I" and not same:
            return False
        if kind in ("IOB1", "IO") and after[0] == "B" and not same:
            return False
        if kind in ("BIOES", "BILOU"):
            inside = before[0] in "BI"
            if inside != (after[0] in "IE") or (inside and not same):
                return False
    return True


def brute_force(log_probs, names, kind):
    words, size = log_probs.shape
    allowed = [path for path in itertools.product(range(size), repeat=words) if is_valid([names[tag] for tag in path], kind)]
    return max(log_probs[range(words), list(path)].sum() for path in allowed)


@pytest.mark.parametrize("kind", SCHEMES)
@given(seed=st.integers(0, 2**32 - 1), words=st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_the_best_path_is_valid_and_the_best_of_all_sequences(kind, seed, words):
    names = SCHEMES[kind]
    log_probs = log_softmax(np.random.default_rng(seed).normal(0, 2, (words, len(names))).astype(np.float32))
    path = best_path(log_probs, rules_of(kind))
    assert is_valid([names[tag] for tag in path], kind)
    assert log_probs[range(words), path].sum() == pytest.approx(brute_force(log_probs, names, kind), abs=1e-4)


@pytest.mark.parametrize("kind", SCHEMES)
@given(seed=st.integers(0, 2**32 - 1), words=st.integers(1, 8), data=st.data())
@settings(deadline=None, max_examples=40)
def test_joined_and_mute_words_never_make_a_sequence_invalid(kind, seed, words, data):
    names = SCHEMES[kind]
    joined = sorted(data.draw(st.sets(st.integers(1, words - 1)))) if words > 1 else []
    mute = sorted(data.draw(st.sets(st.integers(0, words - 1))) - set(joined))
    log_probs = log_softmax(np.random.default_rng(seed).normal(0, 2, (words, len(names))).astype(np.float32))
    path = best_path(log_probs, rules_of(kind), joined, mute)
    assert is_valid([names[tag] for tag in path], kind)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_the_shortcut_gives_the_path_of_the_full_search(seed):
    names = SCHEMES["IOB2"]
    rules = tag_rules(names, "IOB2")
    log_probs = log_softmax(np.random.default_rng(seed).normal(0, 2, (5, len(names))).astype(np.float32))
    # a sixth word without scores keeps the shortcut out; it is O and changes nothing before it
    longer = np.concatenate([log_probs, np.zeros((1, len(names)), np.float32)])
    assert best_path(log_probs, rules).tolist() == best_path(longer, rules, mute=[5])[:5].tolist()


def sure(names, *tags):
    """Scores that are certain of a tag a word, None where there are none."""
    scores = np.full((len(tags), len(names)), -20.0, dtype=np.float32)
    for word, tag in enumerate(tags):
        scores[word] = 0.0 if tag is None else scores[word]
        if tag is not None:
            scores[word, names.index(tag)] = 0.0
    return scores


def decoded(kind, *tags, joined=(), mute=()):
    names = SCHEMES[kind]
    return [names[tag] for tag in best_path(sure(names, *tags), rules_of(kind), joined, mute)]


def test_a_joined_word_continues_the_tag_before_it():
    assert decoded("IOB2", "B-X", None, "O", None, joined=[1, 3]) == ["B-X", "I-X", "O", "O"]
    assert decoded("BIOES", "B-X", None, joined=[1]) == ["B-X", "E-X"]
    assert decoded("none", "VERB", None, joined=[1]) == ["VERB", "VERB"]


def test_a_mute_word_between_two_words_of_one_span_is_inside_it():
    assert decoded("IOB2", "B-X", None, "I-X", mute=[1]) == ["B-X", "I-X", "I-X"]
    assert decoded("BIOES", "B-X", None, None, "E-X", mute=[1, 2]) == ["B-X", "I-X", "I-X", "E-X"]


def test_a_mute_word_elsewhere_is_outside():
    assert decoded("IOB2", None, "B-X", None, "B-X", "O", None, mute=[0, 2, 5]) == ["O", "B-X", "O", "B-X", "O", "O"]


def test_without_a_scheme_a_mute_word_takes_the_tag_before_it():
    assert decoded("none", "VERB", None, None, "X", mute=[1, 2]) == ["VERB", "VERB", "VERB", "X"]


def test_without_a_scheme_leading_mute_words_take_the_tag_after_them():
    assert decoded("none", None, None, "VERB", "X", mute=[0, 1]) == ["VERB", "VERB", "VERB", "X"]


def test_no_word_has_no_tag():
    assert len(best_path(np.zeros((0, 3), np.float32), tag_rules(SCHEMES["none"], "none"))) == 0


def test_log_softmax_is_that_of_torch_and_stands_large_logits():
    import torch

    logits = np.array([[1.0, -2.0, 3.5], [900.0, 0.0, -900.0]], dtype=np.float32)
    assert log_softmax(logits) == pytest.approx(torch.log_softmax(torch.from_numpy(logits), -1).numpy(), abs=1e-6)
