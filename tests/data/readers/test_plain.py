from tests.data.reading import Reading, written


def test_each_line_that_is_not_blank_is_a_text(tmp_path):
    found = Reading(written(tmp_path, "a.txt", "\ufeffAnna came.\r\n\r\n  Oslo \nlast"), labels_needed=False)
    assert [(example.id, example.text) for example in found] == [("a.txt:1", "Anna came."), ("a.txt:3", "  Oslo "), ("a.txt:4", "last")]


def test_texts_are_unlabelled(tmp_path):
    example = Reading(written(tmp_path, "a.txt", "Oslo\n"), labels_needed=False)[0]
    assert (example.spans, example.labels, example.score) == (None, None, None)
