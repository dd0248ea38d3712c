import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import tunny
from tests.trained import trained
from tunny.core.errors import DataError, ModelError

ODD = [
    "",
    "   \t\n ",
    "Marie 👩‍👩‍👧‍👦 Curie",
    "Go\u0308teborg",
    "Paris\r\nLerwick",
    "\u202bפריז Paris\u202c مرحبا",
    "\ufeffMarie Curie",
    "a\u200bb \u200b c\u00a0d",
    "北京 Paris",
    "x" * 5000,
]


@pytest.fixture(scope="module")
def tagger():
    return tunny.load(trained("ner", epochs=30).model)


@pytest.fixture(scope="module")
def pos_tagger():
    return tunny.load(trained("pos").model)


def test_answers_come_in_the_order_of_the_texts(tagger):
    texts = ["Marie Curie worked in Paris", "the wind", "in Bergen the auction was sold " * 30, "Nobody laughed"] * 3
    found = tagger.predict(texts)
    assert [answer["text"] for answer in found] == texts
    assert [answer["id"] for answer in found] == [str(at) for at in range(12)]


def test_an_answer_does_not_depend_on_its_neighbours(tagger):
    texts = ["Marie Curie worked in Paris", "in Bergen the auction was sold " * 30, "Nobody laughed"]
    alone = [tagger.predict([text])[0]["spans"] for text in texts]
    together = [answer["spans"] for answer in tagger.predict(texts)]
    assert [[(s["start"], s["end"], s["label"]) for s in spans] for spans in together] == [
        [(s["start"], s["end"], s["label"]) for s in spans] for spans in alone
    ]


@pytest.mark.parametrize("space", ["\r\n", "\u00a0", "\t \u2003"])
def test_spans_are_exact_characters_whatever_white_space_parts_the_words(tagger, space):
    plain = "Marie Curie worked in Paris"
    text = space + plain.replace(" ", space) + space
    [expected], [found] = tagger.predict([plain]), tagger.predict([text])
    assert expected["spans"]
    assert [text[span["start"] : span["end"]] for span in found["spans"]] == [
        plain[span["start"] : span["end"]].replace(" ", space) for span in expected["spans"]
    ]


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_have_spans_inside_them_without_white_space_at_the_edges(tagger, text):
    [found] = tagger.predict([text])
    assert found["text"] == text
    for span in found["spans"]:
        inside = text[span["start"] : span["end"]]
        assert inside
        assert inside == inside.strip()


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=60)
def test_every_character_that_is_no_space_lies_in_exactly_one_tagged_word(pos_tagger, text):
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return
    [found] = pos_tagger.predict([text])
    covered = np.zeros(len(text), int)
    for start, end in found["words"]:
        covered[start:end] += 1
    assert len(found["words"]) == len(found["tags"])
    assert all(count == 1 for letter, count in zip(text, covered, strict=True) if not letter.isspace())


def test_a_single_string_is_refused_instead_of_being_read_letter_by_letter(tagger):
    with pytest.raises(TypeError, match=r"write \[text\]"):
        tagger.predict("Marie Curie")


def test_no_text_has_no_answer(tagger):
    assert tagger.predict([]) == []


def test_pairs_are_given_as_tuples():
    model = tunny.load(trained("pair").model)
    [found] = model.predict([("herring and cod sold", "it was herring")])
    assert (found["text"], found["text_b"]) == ("herring and cod sold", "it was herring")
    assert found["label"] in {"yes", "no"}


def test_the_answer_for_a_long_text_is_the_mean_of_its_windows_logits():
    run = trained("classify")
    text = " ".join(["herring and cod sold on Monday in Paris"] * 30)
    tokenizer, plain = (
        transformers.AutoTokenizer.from_pretrained(run.model),
        transformers.AutoModelForSequenceClassification.from_pretrained(run.model),
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    starts = range(0, max(1, len(ids) - 62 + 46), 46)  # windows of 64 tokens, two of them special, 16 shared
    windows = [ids[start : start + 62] for start in starts if start == 0 or start + 16 < len(ids)]
    with torch.no_grad():
        logits = [plain(torch.tensor([[tokenizer.cls_token_id, *window, tokenizer.sep_token_id]])).logits[0] for window in windows]
    expected = torch.softmax(torch.stack(logits).mean(0), -1)
    [found] = tunny.load(run.model).predict([text])
    assert len(windows) > 3
    assert found["score"] == pytest.approx(float(expected.max()), abs=1e-5)
    assert found["label"] == plain.config.id2label[int(expected.argmax())]


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="no such model folder"):
        tunny.load("./no/such/folder")


def test_the_folder_of_a_run_is_refused_and_its_model_named():
    run = trained("ner", epochs=30).folder
    with pytest.raises(ModelError, match=rf"{run}: expected a model folder, found a run\. Did you mean {run}/model\?"):
        tunny.load(run)


@pytest.mark.parametrize("texts", [["fine", "Os\ud83dlo"], ["fine", "\ude00"]])
def test_half_a_surrogate_pair_is_refused_by_its_text(tagger, texts):
    with pytest.raises(DataError, match=r"text 1 of those given, from 0: holds '\\ud[8e][30][d0]', half of a surrogate pair"):
        tagger.predict(texts)


def test_half_a_surrogate_pair_in_a_second_text_is_refused():
    with pytest.raises(DataError, match="text 0 of those given"):
        tunny.load(trained("pair").model).predict([("herring", "\ud83d cod")])


def test_the_precision_is_that_of_the_training(capsys):
    tunny.load(trained("ner", "bf16").model)
    assert "precision: bf16 (as in training)" in capsys.readouterr().err


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_texts(tagger):
    import resource

    from tunny.data.example import Example

    def answered(number):
        examples = (Example(str(at), f"Marie Curie worked in Paris {at}") for at in range(number))
        return sum(1 for _ in tagger.answers(examples))

    assert answered(20_000) == 20_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert answered(200_000) == 200_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
