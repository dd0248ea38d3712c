import itertools
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examined
from hypothesis import strategies as st

from tests.data.checking import splits_of
from tunny.data.rows import Rows
from tunny.data.similar import BANDS, NEXT, _neighbours, jaccard, similar_groups

WORDS = [
    "boat",
    "harbour",
    "wind",
    "tide",
    "crew",
    "rope",
    "anchor",
    "sail",
    "port",
    "bow",
    "stern",
    "mast",
    "net",
    "buoy",
    "quay",
    "ferry",
    "storm",
    "chart",
    "lantern",
    "gull",
    "herring",
    "cod",
]


def shingles(text):
    padded = "    " + " ".join(text.lower().split()) + "    "
    return {padded[at : at + 5] for at in range(len(padded) - 4)}


def similarity(one, other):
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def components(texts, threshold):
    """Return the group of each text by comparing all pairs."""
    group = list(range(len(texts)))
    for left, right in itertools.combinations(range(len(texts)), 2):
        if similarity(texts[left], texts[right]) >= threshold:
            low, high = sorted((group[left], group[right]))
            group = [low if name == high else name for name in group]
    return group


def sentences(number, seed, changed=0.5):
    """Return different texts of 10 to 20 words, many of them others with a word, a letter or the order of two words changed."""
    draw = random.Random(seed)
    found = [" ".join(draw.choices(WORDS, k=draw.randint(10, 20)))]
    while len(found) < number:
        words = draw.choice(found).split() if draw.random() < changed else draw.choices(WORDS, k=draw.randint(10, 20))
        at = draw.randrange(len(words) - 1)
        words[at : at + 2] = draw.choice(
            [[draw.choice(WORDS), words[at + 1]], [words[at] + "s", words[at + 1]], words[at + 1 : at - 1 : -1] or words[:2]]
        )
        found.append(" ".join(words))
    return list(dict.fromkeys(found))


def groups(folder, *texts, **splits):
    return similar_groups(Rows(splits_of(folder, **({"train": texts} if texts else splits)))).tolist()


def test_the_similarity_of_pairs_is_that_of_their_sets(tmp_path):
    texts = sentences(60, seed=1)
    rows = Rows(splits_of(tmp_path, train=texts))
    pairs = list(itertools.combinations(range(len(texts)), 2))
    found = jaccard(rows, *np.array(pairs).T)
    assert found.tolist() == pytest.approx([similarity(texts[left], texts[right]) for left, right in pairs])


@pytest.mark.parametrize("seed", range(3))
def test_the_groups_are_those_of_comparing_every_pair(tmp_path, seed):
    texts = sentences(300, seed)
    assert groups(tmp_path, *texts) == components(texts, 0.8)


def test_nearly_all_pairs_just_above_the_threshold_are_found(tmp_path):
    texts, twins = [], []
    draw = random.Random(3)
    while len(twins) < 300:
        words = draw.choices(WORDS, k=16)
        changed = [*words[:7], draw.choice(WORDS), *words[8:]]
        if 0.8 <= similarity(" ".join(words), " ".join(changed)) < 0.86:
            twins.append((len(texts), len(texts) + 1))
            texts += [" ".join(words), " ".join(changed)]
    found = groups(tmp_path, *texts)
    assert sum(found[left] == found[right] for left, right in twins) >= 0.99 * len(twins)


def test_capitals_and_white_space_make_no_difference(tmp_path):
    assert groups(tmp_path, "The ferry leaves at nine", "the  FERRY\tleaves at nine", "the herring is fresh") == [0, 0, 2]


def test_short_texts_that_differ_are_not_alike(tmp_path):
    assert groups(tmp_path, "yes", "no", "yes.", "Yes", "a", "b") == [0, 1, 2, 0, 4, 5]


def test_exact_copies_are_of_one_group_across_splits(tmp_path):
    assert groups(tmp_path, train=["a calm sea", "a rough sea"], test=["a rough sea", "a calm sea"]) == [0, 1, 1, 0]


def test_of_pairs_both_texts_must_be_alike(tmp_path):
    long = "the ferry from the island leaves the harbour at nine o'clock in the morning, whatever the weather"
    rows = [
        {"text": long, "text_b": second, "label": "good"} for second in ("It leaves at nine.", "It never leaves.", "it leaves at nine. ")
    ]
    assert groups(tmp_path, train=rows) == [0, 1, 0]


def test_texts_without_spaces_are_compared(tmp_path):
    text = "東京から大阪まで新幹線で二時間半かかりますが、飛行機ならもっと早く着くことができます"
    assert groups(tmp_path, text, text + "。", "北海道は寒いので、冬には厚い上着が必要です") == [0, 0, 2]


def test_of_long_texts_the_first_hundred_thousand_characters_are_compared(tmp_path):
    draw = random.Random(5)
    long = " ".join("".join(draw.choices("abcdefgh", k=6)) for _ in range(20_000))
    assert groups(tmp_path, long, long[:100_000] + " and then another end", long[::-1]) == [0, 0, 2]


def test_many_texts_of_one_mould_are_one_group(tmp_path):
    mould = "we would like to tell you that your parcel number {} has left the harbour this morning and comes on Monday"
    assert set(groups(tmp_path, *(mould.format(number) for number in range(3000)))) == {0}


def test_what_is_compared_grows_with_the_rows_and_not_with_their_square():
    one_bucket = np.zeros((BANDS, 5000), np.uint32)
    assert sum(len(left) for left, _ in _neighbours(one_bucket)) <= BANDS * NEXT * 5000


def test_the_groups_do_not_depend_on_the_process(tmp_path):
    code = (
        "from pathlib import Path; from tests.data.test_similar import groups, sentences; import sys;"
        "print(groups(Path(sys.argv[1]), *sentences(200, 9)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    seeds = [{**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2")]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True, env=seed) for seed in seeds]
    assert runs[0].stdout == runs[1].stdout != ""


@examined(max_examples=40)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1, max_size=8))
def test_any_texts_get_groups_named_by_their_first_row(tmp_path_factory, texts):
    found = groups(tmp_path_factory.mktemp("any"), *texts)
    assert all(found[name] == name <= row for row, name in enumerate(found))
