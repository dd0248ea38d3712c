import json
from xml.etree import ElementTree

from tests.evaluation.contents import content, full, part
from tests.pages import EVIL
from tunny.core.page import render
from tunny.evaluation.plots import plots


def test_plots_are_named_for_what_they_show():
    assert sorted(plots(full())) == [
        "confusion.svg", "curves-f1.svg", "curves-learning_rate.svg", "curves-loss.svg", "labels.svg", "reliability-after.svg",
        "reliability-before.svg", "slice-1-text-length.svg", "slice-2-seen-in-training.svg",
    ]  # fmt: skip


def test_there_are_no_plots_of_nothing():
    assert plots(content()) == {}


def test_plots_stand_alone():
    for name, svg in plots(full()).items():
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        assert root.attrib["width"]
        assert "var(" not in svg
        assert svg.count("http") == 1


def test_labels_of_plots_are_escaped_and_never_break_the_file():
    label = f"{EVIL}\x0b\ud800"
    score = {"precision": 0.5, "recall": 0.5, "f1": None, "support": 3, "interval": None}
    made = plots(content(per_label={label: score}, confusion={"names": [label], "counts": [[2]]}, slices=[part(label, "f1", [label])]))
    assert sorted(made)[:2] == ["confusion.svg", "labels.svg"]
    for svg in made.values():
        assert not [element for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("script")]
        svg.encode()


def test_names_of_files_stay_in_their_folder():
    names = plots(content(slices=[part("../../a b", "f1", ["x"])], curves={"series": {"../x\\y": [[1, 2.0]]}, "best_step": None}))
    assert sorted(names) == ["curves-x-y.svg", "slice-1-..-..-a-b.svg"]


def test_the_content_is_left_as_it_is():
    made = full()
    before = json.dumps(made)
    render("report.html", made)
    plots(made)
    assert json.dumps(made) == before
