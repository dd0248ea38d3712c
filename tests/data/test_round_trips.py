"""Every format -> examples -> every format that can hold them, and back, over any Unicode text; what is lost is in the audit."""

import tempfile
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.data.reading import Reading, written
from tunny.data.audit import Audit
from tunny.data.example import Example, Span
from tunny.data.settings import TOKEN_KINDS
from tunny.data.tags import tag_words, tags_to_spans
from tunny.data.words import find_words
from tunny.data.write import FORMATS, write_examples

HELD = {
    kind: [form for form, (kinds, _) in FORMATS.items() if kind in kinds and form != "text"]
    for kind in ("ner", "pos", "chunk", "classify", "multilabel", "regress")
}
PIECES = [
    "Marie", "Göteborg", "can't", "1.50", ",", ".", '"', '""', "'", ";", "\t", " ", "  ", "\n", "\r", "\r\n", "\x0b", "\x1c", "\x1f", "\x85",
    "\u2028", "\xa0", "\u3000", "\u200b", "\ufeff", "\x00", "\x7f", "\\", "\\n", "=1+1", "@x", "#", "# newdoc", "-DOCSTART-", "_", "O", "B-PER",
    "PAR1", "PK\x03\x04", "[", "]", "{", "}", "null", "nan", "👨\u200d👩\u200d👧", "🇩🇪", "e\u0301", "\u0301", "שלום", "东京", "𝔘", "\ufffd", "\uffff",
]  # fmt: skip
ANY = st.one_of(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
NAMES = ANY.map(str.strip).filter(lambda text: text not in ("", "_"))  # of labels
NULS = "NULs replaced"
TEXT_LOST = {"spacing lost", "text outside words lost", "words respelt", NULS}
LOST = {  # part -> what the audit calls its loss
    "id": {"ids lost", "ids respelt", NULS},
    "text": TEXT_LOST,
    "text_b": {"second texts lost", NULS},
    "document": {"documents lost", "documents respelt", "documents made up", NULS},
    "words": {"words lost", *TEXT_LOST},
    "spans": {"labels respelt", "spans snapped to words", "spans inside one word", "spans without words", "spans that are no words", *TEXT_LOST},
    "labels": {NULS},
    "score": set(),
    "meta": {"meta lost"},
}  # fmt: skip


@st.composite
def ranges(draw, text):
    """Stretches of a text, in order, without white space at their edges."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return tuple((start, end) for start, end in pairwise(cuts) if start < end and text[start:end] == text[start:end].strip())


@st.composite
def examples(draw, kind, number, has_document, is_pair, has_words):
    text = draw(ANY.filter(str.strip))
    words = draw(ranges(text)) if has_words or kind == "pos" else None
    spans = labels = score = None
    if kind == "pos":
        tagged = draw(st.lists(st.sampled_from(words), unique=True)) if words else []
        spans = tuple(Span(*word, draw(NAMES)) for word in sorted(tagged))
    elif kind in TOKEN_KINDS:
        spans = tuple(Span(*found, draw(NAMES)) for found in draw(ranges(text)))
    elif kind == "regress":
        score = draw(st.floats(allow_nan=False, allow_infinity=False))
    else:
        labels = tuple(draw(st.lists(NAMES, min_size=kind == "classify", max_size=1 if kind == "classify" else 4, unique=True)))
    meta = draw(st.dictionaries(NAMES.filter(lambda name: name not in ("words", "document")), st.integers() | ANY | st.none(), max_size=2))
    return Example(
        f"{draw(ANY)}{number}", text, spans, labels, score, draw(ANY) if is_pair and kind not in TOKEN_KINDS else None,
        draw(ANY.filter(bool)) if has_document else None, words, meta,
    )  # fmt: skip


@st.composite
def files(draw, kind):
    """A few examples as they stand in one file, each with its own id."""
    wanted = [draw(st.booleans()) for _ in range(3)]
    return [draw(examples(kind, number, *wanted)) for number in range(draw(st.integers(1, 3)))]


def back_from(made, form, kind, folder):
    """Write examples and read them again: what is read, and the audit of writing."""
    audit = Audit()
    path = Path(folder) / f"made.{form}"
    assert write_examples(path, form, made, kind, audit) == len(made)
    audit.settle()
    named = {}
    if form == "label-studio":
        has_document = made[0].document is not None and "data" not in made[0].meta
        named = {"id": "id", "group_by": "doc_id" if has_document else None, "text_b": "text_b" if made[0].text_b is not None else None}
    if audit.counts["texts without words"] == len(made):
        return [], audit  # which is an error to read
    return Reading(path, kind, format=form, **named), audit


def lost_of(example, audit):
    name = example.id.replace("\0", "\ufffd") if audit.counts["NULs replaced"] else example.id
    return {kind for kind, listed in audit.events.items() if any(event["where"] == name for event in listed)}


def part(example, name, form):
    if form == "label-studio" and name in ("document", "meta"):
        return None if name == "meta" or example.document == example.id else example.document
    if name == "words" and form in ("conll", "conllu"):
        return None
    return getattr(example, name)


# -- one step ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "form"), [(kind, form) for kind in HELD for form in HELD[kind]])
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_written_reads_back_or_is_counted_as_lost(kind, form, data):
    made = data.draw(files(kind))
    with tempfile.TemporaryDirectory() as folder:
        found, audit = back_from(made, form, kind, folder)
    left = [example for example in made if "texts without words" not in lost_of(example, audit)]
    assert len(found) == len(left)
    for example, again in zip(left, found, strict=True):
        lost = lost_of(example, audit) | ({"documents respelt"} & {*audit.events})  # which the first sentence of a document says
        for name, losses in LOST.items():
            if not losses & lost:
                assert part(again, name, form) == part(example, name, form), (name, lost)


# -- there and back again ------------------------------------------------------------------------------------------------


def is_word(text):
    return text.split() == [text] and find_words(text) == ((0, len(text)),) and "\0" not in text


WORD = st.one_of(
    st.sampled_from(list(filter(is_word, PIECES))), st.characters(exclude_categories=["Cs", "Cc", "Z"]).filter(is_word),
    st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=6),
)  # fmt: skip


@st.composite
def plain_files(draw, kind):
    """Examples that every format of their kind can hold: words parted by single spaces, spans on their edges, nothing that breaks a line."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        tokens = draw(st.lists(WORD, min_size=1, max_size=6))
        text = " ".join(tokens)
        words = find_words(text)
        assume(len(words) == len(tokens))
        spans = labels = score = None
        if kind == "pos":
            spans = tuple(Span(*word, draw(WORD.filter("_".__ne__))) for word in words)
        elif kind in TOKEN_KINDS:
            cuts = sorted(draw(st.sets(st.integers(0, len(words)), max_size=4)))
            spans = tuple(Span(words[first][0], words[last - 1][1], draw(WORD)) for first, last in list(pairwise(cuts))[::2])
        elif kind == "regress":
            score = draw(st.floats(allow_nan=False, allow_infinity=False))
        else:
            labels = tuple(draw(st.lists(NAMES, min_size=1, max_size=1 if kind == "classify" else 3, unique=True)))
            text, words = draw(ANY.filter(lambda text: text.strip() and "\0" not in text)), None
        found.append(Example(f"{number}", text, spans, labels, score, words=words if kind in TOKEN_KINDS else None))
    return found


@pytest.mark.parametrize(("kind", "first"), [(kind, form) for kind in ("ner", "pos", "multilabel", "regress") for form in HELD[kind]])
@settings(max_examples=8)
@given(data=st.data())
def test_every_way_through_two_formats_and_back_gives_the_same(kind, first, data):
    made = data.draw(plain_files(kind))
    assume(not any("\0" in label for example in made for label in example.labels or ()))
    with tempfile.TemporaryDirectory() as folder:
        there, _ = back_from(made, first, kind, folder)
        for second in HELD[kind]:
            between, _ = back_from(there, second, kind, folder)
            again, _ = back_from(between, first, kind, folder)
            for example, other in product([made], [there, between, again]):
                assert [(one.text, one.spans, one.labels, one.score) for one in other] == [
                    (one.text, one.spans, one.labels, one.score) for one in example
                ], second


# -- spans -> tags -> spans ----------------------------------------------------------------------------------------------

ENDS = {"IOB1": "IIII", "IOB2": "BBII", "BIOES": "BSIE", "BILOU": "BUIL"}  # first of several words, only one, inside, last


def in_scheme(tags, scheme):
    """IOB2 tags in another scheme."""
    several, only, inside, last = ENDS[scheme]
    found = []
    for number, tag in enumerate(tags):
        prefix, _, label = tag.partition("-")
        ends = number + 1 == len(tags) or tags[number + 1] != f"I-{label}"
        before = tags[number - 1].partition("-")[2] if number else ""
        mark = {"B": only if ends else several, "I": last if ends else inside}.get(prefix)
        if scheme == "IOB1" and prefix == "B" and label == before:
            mark = "B"
        found.append(f"{mark}-{label}" if mark else "O")
    return found


@pytest.mark.parametrize("scheme", ENDS)
@given(made=plain_files("ner"))
def test_spans_come_back_from_the_tags_of_every_scheme(scheme, made):
    for example in made:
        tags = in_scheme(tag_words(example.spans, example.words), scheme)
        found = [Span(example.words[first][0], example.words[last][1], label) for first, last, label in tags_to_spans(tags, scheme)[0]]
        assert tuple(found) == example.spans


@pytest.mark.parametrize("scheme", ENDS)
@settings(max_examples=30)
@given(made=plain_files("ner"))
def test_spans_come_back_from_a_file_in_every_scheme(scheme, made):
    made = [*made, Example("tells", "Ada Voss came home", (Span(0, 8, "X"), Span(14, 18, "X")), words=((0, 3), (4, 8), (9, 13), (14, 18)))]
    sentences = (
        "".join(
            f"{word}\t{tag}\n" for word, tag in zip(one.text.split(" "), in_scheme(tag_words(one.spans, one.words), scheme), strict=True)
        )
        for one in made
    )
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "a.conll", "\ufeff" + "\n".join(sentences))
        assert [(one.text, one.spans) for one in Reading(path, format="conll")] == [(one.text, one.spans) for one in made]


# -- real files ----------------------------------------------------------------------------------------------------------


def through(found, kind, forms, folder):
    for form in forms:
        found, _ = back_from(found, form, kind, folder)
    return found


def lines_of(path):
    return [line for line in path.read_text("utf-8").split("\n") if line.strip()]


def test_wnut_is_the_same_after_jsonl_spans_and_conll(shared_data, tmp_path):
    source = shared_data / "wnut17" / "emerging.dev.conll"
    through(Reading(source), "ner", ["jsonl", "spans", "conll"], tmp_path)
    assert lines_of(tmp_path / "made.conll") == lines_of(source)


def test_ewt_is_the_same_after_conllu(shared_data, tmp_path):
    source = Reading(shared_data / "ud-en-ewt" / "en_ewt-ud-dev.conllu", "pos")
    assert through(source, "pos", ["conllu"], tmp_path) == source


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "parquet", "label-studio"])
@pytest.mark.parametrize(
    ("kind", "name", "chosen"),
    [
        ("classify", "corona/Corona_NLP_train.csv", {"text": "OriginalTweet", "label": "Sentiment"}),
        ("multilabel", "goemotions/dev.tsv", {"header": False, "text": 0, "label": 1}),
        ("regress", "glue/STS-B/dev.tsv", {"format": "glue:STS-B"}),
    ],
)
def test_texts_and_labels_of_real_files_are_the_same(shared_data, tmp_path, kind, name, chosen, form):
    source = Reading(shared_data / name, kind, **chosen)
    found, _ = back_from(source, form, kind, tmp_path)
    assert [(one.id, one.text, one.text_b, one.labels, one.score) for one in found] == [
        (one.id, one.text, one.text_b, one.labels, one.score) for one in source
    ]
