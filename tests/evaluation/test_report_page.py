import html
import re

import pytest
from hypothesis import given
from hypothesis import settings as examined
from hypothesis import strategies as st

from tests.evaluation.contents import ARABIC, EMOJI, content, error, full, listed, part, reliable, span
from tests.pages import EVIL, Page
from tunny.core.page import render

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
WHOLE = [
    "scores", "curves", "labels", "schemes", "confusion", "calibration", "slices", "lengths", "errors", "audit", "settings",
    "environment", "reproduce",
]  # fmt: skip


def page(**other):
    return render("report.html", content(**other))


def pieces(text, gold, predicted):
    """Return the parts of a text as the page shows it, each with the classes of its mark."""
    made = page(errors=listed([error("any", text, gold, predicted)]))
    shown = re.search(r'<p dir="auto">(.*?)</p></li>', made, re.DOTALL)[1]
    return [(html.unescape(piece), marks) for marks, piece in re.findall(r'(?:<mark class="([gp ]*)">)?([^<]+)(?:</mark>)?', shown)]


def covered(parts, kind):
    """Return the code points that have marks of a kind."""
    found, at = [], 0
    for piece, marks in parts:
        if kind in marks.split():
            found.extend(range(at, at + len(piece)))
        at += len(piece)
    return found


# -- safety ------------------------------------------------------------------------------------------------------------


def test_everything_from_data_is_escaped():
    score = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 3, "interval": None}
    mistake = error("<b>", f"so {EVIL}", {**span(f"so {EVIL}", EVIL, EVIL)}, {"label": EVIL}, where=EVIL, id=EVIL, text_b=EVIL)
    made = page(
        title=EVIL, task=EVIL, model=EVIL, data=EVIL, headline=EVIL, metrics={EVIL: 0.5}, intervals={EVIL: None}, per_label={EVIL: score},
        confusion={"names": [EVIL, ""], "counts": [[1, 2], [3, 0]]}, slices=[part(EVIL, EVIL, [EVIL])], errors=listed([mistake]),
        calibration={"before": reliable(0.1, 0.1), "after": None, "note": EVIL}, notes=[EVIL], settings=EVIL, environment={EVIL: EVIL},
        lengths=[{"of": EVIL, "quantiles": [1, 2, 3, 4], "edges": [0, 1, 2], "counts": [3, 4]}], reproduce=[EVIL], ceiling=EVIL,
        curves={"series": {f"train/{EVIL}": [[1, 0.5], [2, 0.25]]}, "best_step": 1},
        audit={"counts": {EVIL: 1}, "flows": {EVIL: {"in": 1, "kept": 0, "repaired": {}, "dropped": {EVIL: 1}}},
               "events": {EVIL: [{"where": EVIL, "detail": EVIL}]}, "notes": [EVIL]},
    )  # fmt: skip
    tags = [tag for tag, _ in Page(made).tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert "alert('x')" not in made


def test_the_page_refers_to_nothing_outside_itself():
    made = render("report.html", full())
    for _, attributes in Page(made).tags:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "#").startswith("#")
    assert not re.search(r"https?:|url\(|@import", made)


def test_the_page_forbids_the_browser_to_load_anything():
    policy = next(attributes["content"] for _, attributes in Page(page()).tags if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


# -- what is there -----------------------------------------------------------------------------------------------------


def test_a_whole_page_has_every_section():
    made = Page(render("report.html", full()))
    assert made.ids() == WHOLE
    assert made.links() == WHOLE


def test_what_is_absent_has_no_section():
    assert Page(page()).ids() == ["scores", "audit"]


@pytest.mark.parametrize("name", ["schemes", "confusion", "calibration", "thresholds", "curves", "settings", "ceiling"])
def test_what_may_be_absent_may_be_none(name):
    assert page(**{name: None}) == page()


@pytest.mark.parametrize("task", ["ner", "pos", "chunk", "classify", "multilabel", "regress"])
def test_every_kind_of_task_has_a_page(task):
    wrong = {"classify": "wrong class", "regress": "far off"}.get(task, "missed")
    made = page(task=task, errors=listed([error(wrong, "fair wind", {"label": "1.5"}, {"label": "2.5"}, text_b="foul tide")]))
    assert "foul tide" in Page(made).texts


def test_the_main_metric_stands_large_with_its_interval():
    assert '<div class="big">0.912</div>\n<p>f1, 95 % interval 0.895 to 0.927</p>' in page()


@pytest.mark.parametrize(("speed", "said"), [(12345.6, "12,346 examples"), (812.3, "812 examples"), (0.51234, "0.5123 examples")])
def test_speeds_are_rounded(speed, said):
    assert said in page(speed={"examples_per_second": speed, "seconds": 1.2})


def test_a_metric_that_is_not_defined_is_a_dash():
    assert '<div class="big">-</div>' in page(headline="loss")
    assert '<tr><th>loss</th><td class="n">-</td>' in page()


def test_numbers_are_not_filtered_as_labels():
    wrong = listed([error("far off", "fair wind", {"label": "1.5"}, {"label": "2.5"})])
    assert '<select name="gold">' in page(task="classify", errors=wrong)
    assert '<select name="gold">' not in page(task="regress", errors=wrong)


def test_choices_are_counted_and_capitals_tell_labels_apart():
    wrong = [error("missed", "a", {"label": "B"}), error("missed", "a", {"label": "b"}), error("spurious", "a", None, {"label": "b"})]
    made = page(errors=listed(wrong))
    gold = made[made.index('<select name="gold">') :]
    assert re.findall("<option.*?>(.*?)</option>", gold[: gold.index("</select>")]) == ["any", "B (1)", "b (1)", "none (1)"]


def test_cells_of_many_labels_hold_no_text():
    few, many = (re.findall('class="mid', render("report.html", full(labels=labels)).split('id="confusion"')[1]) for labels in (6, 59))
    assert len(many) < len(few)


def test_missing_points_of_a_curve_are_left_out():
    curves = {"series": {"validation/f1": [[1, None], [2, 0.5]], "validation/mcc": [[1, None]]}, "best_step": None}
    made = page(curves=curves)
    assert "validation/f1 from 0.5 to 0.5" in made
    assert "validation/mcc" not in made


def test_long_curves_are_thinned_out():
    points = [[step, 1 / step] for step in range(1, 20_001)]
    assert len(page(curves={"series": {"train/loss": points}, "best_step": None})) < len(page()) + 20_000


def test_a_page_with_1500_errors_is_small():
    assert len(render("report.html", full(1500)).encode()) < 1_500_000


# -- spans -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "gold", "predicted", "expected"),
    [
        ("in New York", (3, 11), (3, 11), [("in ", ""), ("New York", "g p")]),
        ("in New York City", (3, 11), (7, 16), [("in ", ""), ("New ", "g"), ("York", "g p"), (" City", "p")]),
        ("in New York", (3, 11), (7, 11), [("in ", ""), ("New ", "g"), ("York", "g p")]),
        ("Oslo Bergen", (0, 4), (5, 11), [("Oslo", "g"), (" ", ""), ("Bergen", "p")]),
        ("OsloBergen", (0, 4), (4, 10), [("Oslo", "g"), ("Bergen", "p")]),
        ("see <b>", (4, 7), None, [("see ", ""), ("<b>", "g")]),
        ("fair wind", None, (0, 9), [("fair wind", "p")]),
    ],
)
def test_spans_are_marked_where_they_are(text, gold, predicted, expected):
    spans = ({"label": "LOC", "start": some[0], "end": some[1]} if some else None for some in (gold, predicted))
    assert pieces(text, *spans) == expected


@pytest.mark.parametrize(("text", "form"), [(EMOJI, "Morning Star"), (EMOJI, "🚢 Morning"), (EMOJI, "👩‍👩‍👧"), (ARABIC, "نجمة الصباح")])
def test_offsets_are_code_points(text, form):
    assert (form, "g") in pieces(text, span(text, form, "VESSEL"), None)


def test_texts_without_offsets_have_no_marks():
    assert pieces("fair wind", {"label": "good"}, {"label": "bad"}) == [("fair wind", "")]
    assert pieces("fair wind", {"label": "good", "start": None, "end": None}, None) == [("fair wind", "")]


@examined(max_examples=25, deadline=None)
@given(text=ANY_TEXT, data=st.data())
def test_any_spans_of_any_text_are_marked(text, data):
    starts = [data.draw(st.integers(0, len(text) - 1)) for _ in "gp"]
    ends = [data.draw(st.integers(start + 1, len(text))) for start in starts]
    parts = pieces(text, *({"label": "A", "start": start, "end": end} for start, end in zip(starts, ends, strict=True)))
    assert "".join(piece for piece, _ in parts) == text
    assert [covered(parts, kind) for kind in "gp"] == [list(range(start, end)) for start, end in zip(starts, ends, strict=True)]
