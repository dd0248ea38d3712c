"""The evaluation page in a real browser: what it shows, its filters, its spans, and whether everyone can use it."""

import itertools

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.evaluation import browser as browsers
from tests.evaluation.contents import ARABIC, EMOJI, content, error, full, listed, span
from tests.pages import EVIL
from tunny.core.page import render

pytestmark = pytest.mark.slow

VISIBLE = ".errors > li:not([hidden])"
HEBREW = "הספינה כוכב הבוקר 🚢 הגיעה לנמל"
# where marks of a kind stand in the text of the first error, in code points, as the browser holds it
MARKED = """kind => {
  const text = document.querySelector(".errors p");
  return [...text.querySelectorAll("mark." + kind)].map(mark => {
    const before = document.createRange();
    before.setStart(text, 0);
    before.setEndBefore(mark);
    const start = [...before.toString()].length;
    return [start, start + [...mark.textContent].length];
  });
}"""


@pytest.fixture(scope="module")
def browser():
    with browsers.running() as started:
        yield started


@pytest.fixture
def opened(browser, tmp_path):
    def opens(made, **how):
        path = tmp_path / "report.html"
        path.write_text(render("report.html", made), encoding="utf-8")
        return browsers.opened(browser, path, **how)

    return opens


def shown(page):
    return page.locator(VISIBLE).count()


def field(page, label):
    return page.get_by_role("search").get_by_label(label)


def test_a_whole_page_asks_for_nothing_and_says_nothing(opened):
    with opened(full()) as page:
        assert page.locator("h2").count() == 13
        assert page.title() == "Evaluation of harbour"


def test_errors_come_thirty_at_a_time_by_mouse_or_keys(opened):
    with opened(full(400)) as page:
        assert (shown(page), page.locator("output").inner_text()) == (30, "30 of 400 shown")
        page.get_by_role("button", name="show more").press("Enter")
        assert shown(page) == 330
        assert page.evaluate("[...document.querySelectorAll('.errors > li')].indexOf(document.activeElement)") == 30
        page.get_by_role("button", name="show more").click()
        assert shown(page) == 400
        assert not page.get_by_role("button", name="show more").is_visible()


def test_filters_of_kind_and_labels_work_together(opened):
    made = full(400)
    kinds = [one for one in made["errors"]["listed"] if one["kind"] == "wrong label"]
    both = [one for one in kinds if one["gold"]["label"] == "PER" and one["predicted"]["label"] == "VESSEL"]
    with opened(made) as page:
        field(page, "kind").select_option(label=f"wrong label ({len(kinds)})")
        assert page.locator("output").inner_text() == f"30 of {len(kinds)} that fit shown, 400 in all"
        field(page, "gold").select_option("=PER")
        field(page, "predicted").select_option("=VESSEL")
        assert shown(page) == min(30, len(both))
        assert set(page.locator(f"{VISIBLE} b").all_inner_texts()) == {"wrong label"}


def test_errors_without_a_gold_span_are_a_choice(opened):
    with opened(full(50)) as page:
        field(page, "gold").select_option("=")
        assert set(page.locator(f"{VISIBLE} b").all_inner_texts()) == {"spurious"}


def test_words_are_found_in_any_case_and_cleared(opened):
    with opened(full(60)) as page:
        field(page, "text").fill("LERWICK")
        assert all("Lerwick" in text for text in page.locator(f"{VISIBLE} p").all_inner_texts())
        field(page, "text").fill("no such words")
        assert (shown(page), page.locator("output").inner_text()) == (0, "0 of 0 that fit shown, 60 in all")
        page.get_by_role("button", name="clear").click()
        assert shown(page) == 30


def test_letters_with_accents_are_found_however_they_are_written(opened):
    with opened(
        content(errors=listed([error("missed", "cafe\u0301 au lait", {"label": "A"}), error("missed", "tea", {"label": "A"})]))
    ) as page:
        field(page, "text").fill("caf\u00e9")
        assert shown(page) == 1


def test_the_filters_are_reached_and_used_by_keys(opened):
    with opened(full(60)) as page:
        field(page, "kind").focus()
        page.keyboard.type("spur")
        assert set(page.locator(f"{VISIBLE} b").all_inner_texts()) == {"spurious"}
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.type("hake")
        page.keyboard.press("Enter")
        assert field(page, "text").input_value() == "hake"
        assert 0 < shown(page) < 12


@pytest.mark.parametrize(
    ("text", "gold", "predicted", "direction"),
    [
        (EMOJI, "Morning Star", "Star landed 🐟", "ltr"),
        (EMOJI, "👩‍👩‍👧 crew", "👩‍👩‍👧 crew of 🚢", "ltr"),
        (ARABIC, "نجمة الصباح", "السفينة نجمة", "rtl"),
        (HEBREW, "כוכב הבוקר 🚢", "הבוקר", "rtl"),
    ],
)
def test_spans_are_highlighted_at_their_code_points(opened, text, gold, predicted, direction):
    spans = [span(text, form, "VESSEL") for form in (gold, predicted)]
    with opened(content(errors=listed([error("wrong boundary", text, *spans)]))) as page:
        assert page.locator(".errors p").text_content() == text
        assert page.evaluate("getComputedStyle(document.querySelector('.errors p')).direction") == direction
        for kind, one in zip("gp", spans, strict=True):
            marks = page.evaluate(MARKED, kind)
            assert (marks[0][0], marks[-1][1]) == (one["start"], one["end"])
            assert all(before[1] == after[0] for before, after in itertools.pairwise(marks))


def test_gold_and_predicted_differ_without_colour(opened):
    text = "from Oslo to Bergen"
    with opened(content(errors=listed([error("any", text, span(text, "Oslo", "LOC"), span(text, "Bergen", "LOC"))]))) as page:
        style = "mark => [getComputedStyle(mark).borderBottomStyle, getComputedStyle(mark).borderTopStyle]"
        assert page.locator(".errors mark.g").evaluate(style) == ["solid", "none"]
        assert page.locator(".errors mark.p").evaluate(style) == ["none", "dotted"]


def test_a_script_in_the_data_stays_text(opened):
    made = content(errors=listed([error(EVIL, EVIL, span(EVIL, "alert", EVIL), None, id=EVIL)]), notes=[EVIL], model=EVIL)
    with opened(made) as page:
        assert page.locator(".errors p").text_content() == EVIL
        assert page.locator("script").count() == 1
        assert page.locator("img").count() == 0
        field(page, "gold").select_option(f"={EVIL}")
        assert shown(page) == 1


def test_tables_are_sorted_by_keys(opened):
    with opened(full()) as page:
        page.get_by_role("button", name="support").press("Enter")
        page.get_by_role("button", name="support").press("Enter")
        supports = [int(text) for text in page.locator("table.sortable tbody td:last-child").all_inner_texts()]
        assert supports == sorted(supports)


def test_paper_is_light_and_takes_thirty_errors(opened):
    with opened(full(90), scheme="dark") as page:
        page.get_by_role("button", name="show more").click()
        page.emulate_media(media="print")
        assert page.evaluate("[...document.querySelectorAll('.errors > li')].filter(row => row.checkVisibility()).length") == 30
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(34, 39, 46)"


LONG = "a-name-without-any-spaces-that-is-longer-than-a-phone-is-wide/" * 3


@pytest.mark.parametrize("made", [full(), full(labels=59), full() | {"title": LONG, "model": LONG, "notes": [LONG], "reproduce": [LONG]}])
def test_a_phone_shows_the_page_without_scrolling_sideways(opened, made):
    with opened(made, width=360) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_long_labels_do_not_widen_a_phone(opened):
    mistake = error(LONG, LONG, {"label": LONG}, {"label": LONG}, where=LONG, id=LONG)
    score = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 3, "interval": None}
    made = content(per_label={LONG: score}, confusion={"names": [LONG, LONG], "counts": [[1, 2], [3, 4]]}, errors=listed([mistake]))
    with opened(made, width=360) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_accessibility_is_found(opened, scheme, width):
    with opened(full(), width=width, scheme=scheme) as page:
        page.locator("summary").first.click()
        found = Axe().run(page).response["violations"]
    assert [(one["id"], node["html"]) for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"]] == []
