import pytest

from tests.data.checking import checked, entities, places, said, splits_of
from tunny.data.check import check
from tunny.data.suspects import surplus


def row(text, label="good", **more):
    return {"text": text, "label": label, **more}


LONG = "the ferry to the outer islands leaves the harbour at nine in the morning and is back before dark"


def test_a_copy_in_test_is_a_problem_and_found_with_its_places(tmp_path):
    found = checked(tmp_path, train=["a calm sea", "a rough sea"], test=["a rough sea", "fair wind"])
    assert "1 text of test (50.0%) also in train" in said(found, "problem")
    (copy,) = found["copies"]["listed"]
    assert (copy["counts"], places(copy)) == ({"train": 1, "test": 1}, ["train.jsonl:2", "test.jsonl:1"])


def test_a_near_copy_in_validation_is_found_with_its_places(tmp_path):
    found = checked(tmp_path, train=["a calm sea", LONG], validation=["fair wind", LONG.replace("nine", "ten")])
    assert found["shared_texts"] == [{"of": "validation", "in": "train", "rows": 2, "exact": 0, "near": 1}]
    (near,) = found["near_copies"]["listed"]
    assert places(near) == ["train.jsonl:2", "validation.jsonl:2"]
    assert found["copies"]["number"] == 0


def test_copies_in_one_split_are_counted(tmp_path):
    found = checked(tmp_path, train=["a calm sea", "a rough sea", "a calm sea", "a calm sea"])
    assert (found["copies"]["number"], found["copies"]["rows"]) == (1, 3)
    assert "2 rows repeat the text of another (50.0%)" in said(found, "warning")


def test_copies_across_splits_come_first(tmp_path):
    found = checked(tmp_path, train=["fair wind"] * 5 + ["a calm sea"], test=["a calm sea"])
    assert [copy["counts"] for copy in found["copies"]["listed"]] == [{"train": 1, "test": 1}, {"train": 5}]


def test_of_a_large_group_a_place_in_each_split_is_shown(tmp_path):
    found = checked(tmp_path, train=["fair wind"] * 30, test=["fair wind"])
    assert "test.jsonl:1" in places(found["copies"]["listed"][0])


def test_copies_of_one_text_do_not_hide_the_other_of_a_near_group(tmp_path):
    found = checked(tmp_path, train=[LONG] * 20 + [LONG.replace("nine", "ten")])
    assert places(found["near_copies"]["listed"][0]) == ["train.jsonl:1", "train.jsonl:21"]


def test_fifty_groups_are_listed_and_all_are_counted(tmp_path):
    texts = [f"{number} {word}" for number in range(40) for word in ("anchor", "lantern")]
    found = checked(tmp_path, train=texts * 2)["copies"]
    assert (found["number"], found["rows"], len(found["listed"])) == (80, 160, 50)


def test_a_document_in_two_splits_is_a_problem(tmp_path):
    found = checked(
        tmp_path, train=[row("fair wind", doc_id="log 7"), row("calm", doc_id="log 8")], test=[row("rough sea", doc_id="log 7")]
    )
    assert "1 document stands in several splits" in said(found, "problem")
    assert found["shared_documents"]["listed"] == [{"what": "log 7", "counts": {"train": 1, "test": 1}, "places": []}]


def test_validation_sets_may_share_documents_among_themselves(tmp_path):
    splits = splits_of(tmp_path, train=[row("calm", doc_id="a")], one=[row("fair wind", doc_id="b")], two=[row("rough", doc_id="b")])
    named = {"train": splits["train"], "validation/one": splits["one"], "validation/two": splits["two"]}
    assert check(named, "classify")["shared_documents"]["number"] == 0


def test_the_same_text_with_other_labels_is_a_problem(tmp_path):
    found = checked(tmp_path, train=[row("fair wind", "good"), row("calm", "good"), row("fair wind", "bad")])
    assert "1 text stands with different labels" in said(found, "problem")
    assert [(place["where"], place["label"]) for place in found["conflicts"]["listed"][0]["places"]] == [
        ("train.jsonl:1", "good"), ("train.jsonl:3", "bad"),
    ]  # fmt: skip


def test_the_order_of_labels_makes_no_conflict(tmp_path):
    rows = [{"text": "fair wind", "labels": ["a", "b"]}, {"text": "fair wind", "labels": ["b", "a"]}]
    assert checked(tmp_path, "multilabel", train=rows)["conflicts"]["number"] == 0


def test_of_several_labels_those_that_differ_are_shown(tmp_path):
    rows = [
        {"text": "fair wind", "labels": ["a", "b"]},
        {"text": "fair wind", "labels": ["a"]},
        {"text": "fair wind", "labels": ["a", "c"]},
    ]
    conflict = checked(tmp_path, "multilabel", train=rows)["conflicts"]["listed"][0]
    assert [place["label"] for place in conflict["places"]] == ["b", "nothing else", "c"]


def test_other_scores_of_the_same_pair_conflict(tmp_path):
    rows = [
        {"text": "a", "text_b": "b", "score": 1.0},
        {"text": "a", "text_b": "b", "score": 2.0},
        {"text": "a", "text_b": "c", "score": 3.0},
    ]
    assert checked(tmp_path, "regress", train=rows)["conflicts"]["rows"] == 2


def test_other_spans_of_the_same_text_conflict(tmp_path):
    rows = [entities("Anna in Oslo", ("Anna", "PER"), ("Oslo", "LOC")), entities("Anna in Oslo", ("Anna", "PER"))]
    conflict = checked(tmp_path, "ner", train=rows)["conflicts"]["listed"][0]
    assert [place["label"] for place in conflict["places"]] == ["Oslo LOC", "nothing else"]


def test_a_surface_form_that_is_nearly_always_labelled_one_way_is_suspicious_otherwise(tmp_path):
    rows = [entities(f"{number} ships left Paris", ("Paris", "LOC")) for number in range(9)] + [entities("so said Paris", ("Paris", "ORG"))]
    (odd,) = checked(tmp_path, "ner", train=rows)["odd_labels"]["listed"]
    assert (odd["what"], odd["counts"], places(odd)) == ("Paris", {"LOC": 9, "ORG": 1}, ["train.jsonl:10"])


def test_a_surface_form_that_is_labelled_both_ways_alike_is_not_suspicious(tmp_path):
    rows = [entities(f"{number} to Jordan", ("Jordan", "LOC")) for number in range(5)]
    rows += [entities(f"{number} by Jordan", ("Jordan", "PER")) for number in range(4)]
    assert checked(tmp_path, "ner", train=rows)["odd_labels"]["number"] == 0


def missing(folder, *rows):
    found = checked(folder, "ner", train=rows)["missing_labels"]
    return [(each["what"], each["counts"], places(each)) for each in found["listed"]]


OSLO = [entities(f"{number} came to Oslo", ("Oslo", "LOC")) for number in range(3)]
NEW_YORK = [entities(f"{number} came to New York", ("New York", "LOC")) for number in range(3)]


def test_a_surface_form_without_its_label_is_found(tmp_path):
    assert missing(tmp_path, *OSLO, entities("Oslo is cold")) == [("Oslo", {"LOC": 3, "no label": 1}, ["train.jsonl:4"])]


@pytest.mark.parametrize("text", ["Osloers are cold", "an oslo", "snowOslo", "Anna Os lo"])
def test_only_the_same_words_are_a_missing_label(tmp_path, text):
    assert missing(tmp_path, *OSLO, entities(text)) == []


def test_words_inside_another_span_are_no_missing_label(tmp_path):
    assert missing(tmp_path, *OSLO, entities("the Oslo Times wrote", ("Oslo Times", "ORG"))) == []


def test_of_two_surface_forms_the_longer_is_missing(tmp_path):
    york = [entities(f"{number} left York", ("York", "LOC")) for number in range(3)]
    assert missing(tmp_path, *NEW_YORK, *york, entities("New York is large")) == [
        ("New York", {"LOC": 3, "no label": 1}, ["train.jsonl:7"])
    ]


def test_words_that_mostly_have_no_label_are_not_missed(tmp_path):
    assert missing(tmp_path, *OSLO, *(entities(f"{number} times Oslo") for number in range(4))) == []


def test_words_that_are_rarely_labelled_are_not_missed(tmp_path):
    assert missing(tmp_path, *OSLO[:2], entities("Oslo is cold")) == []


def test_the_words_of_the_source_count(tmp_path):
    rows = [{"tokens": ["in", "U.S.", "ports"], "tags": ["O", "B-LOC", "O"]}] * 3 + [
        {"tokens": ["the", "U.S.", "fleet"], "tags": ["O"] * 3}, {"tokens": ["the", "non-U.S.", "fleet"], "tags": ["O"] * 3},
    ]  # fmt: skip
    assert missing(tmp_path, *rows) == [("U.S.", {"LOC": 3, "no label": 1}, ["train.jsonl:4"])]


def test_what_training_knows_of_the_surface_forms_is_counted(tmp_path):
    test = [entities("from Oslo", ("Oslo", "LOC")), entities("in Oslo", ("Oslo", "LOC")), entities("in Rome", ("Rome", "LOC"))]
    assert checked(tmp_path, "ner", train=OSLO, test=test)["shared_forms"] == [
        {"of": "test", "forms": 2, "known_forms": 1, "mentions": 3, "known_mentions": 2}
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("caf\ufffd au lait", "replacement characters (U+FFFD)"),
        ("un cafÃ© au lait", "UTF-8 read as another encoding"),
        ("itâ€™s late", "UTF-8 read as another encoding"),
        ("it\u00e2\u0080\u0099s late", "UTF-8 read as another encoding"),
        ("schÃ¶ne GrÃ¼ÃŸe", "UTF-8 read as another encoding"),
        ("paid Â£20", "UTF-8 read as another encoding"),
        ("ðŸ˜€ fine", "UTF-8 read as another encoding"),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "UTF-8 read as another encoding"),
        ("æ—¥æœ¬", "UTF-8 read as another encoding"),
        ("ring the bell\x07", "control characters"),
        ("it\x92s late", "control characters"),
        ("har\u00adbour", "invisible characters in words"),
        ("har\u200bbour", "invisible characters in words"),
        ("harbour\ufeff", "invisible characters in words"),
        ("cafe\u0301", "letters not in composed form (NFC)"),
    ],
)
def test_signs_of_a_wrong_encoding_are_found(tmp_path, text, what):
    found = checked(tmp_path, train=["a calm sea", text])["encoding"]["listed"]
    assert what in [each["what"] for each in found]
    assert all(places(each) == ["train.jsonl:2"] and each["counts"] == {"train": 1} for each in found)


@pytest.mark.parametrize(
    "text",
    [
        "Ça, c’est un été à Évian – « voilà »…", "Ärger über Öl; große Straße", "não, irmã; São João", "Ünlü şehir", "25 °C, 3 µm, ½, ©",
        "“CAFÉ” – “DÉJÀ VU”", "Crème brûlée", "привет, мир", "שלום עולם", "مرحبا بالعالم", "می\u200cخواهم", "สวัสดี\u200bครับ", "日本語の文章です。",
        "한국어 문장", "👨\u200d👩\u200d👧 🇩🇪", "tab\tand line\nbreak\r\n", "Łódź, Škoda, Čapek", "naïve façade", "Mäâ Ãvila", "क्षत्रिय",
    ],
)  # fmt: skip
def test_well_written_texts_show_no_sign_of_a_wrong_encoding(tmp_path, text):
    assert checked(tmp_path, train=[text])["encoding"] == {"number": 0, "rows": 0, "listed": []}


def test_what_cannot_be_seen_is_written_out(tmp_path):
    found = checked(tmp_path, train=["har\u200bbour"])["encoding"]["listed"][0]
    assert found["places"][0]["text"] == "har<U+200B>bour"


# -- what a repair leaves out ------------------------------------------------------------------------------------------


def left_out(splits):
    return {name: set(rows) for name, rows in surplus(splits).items()}


def test_the_copy_in_test_stays_before_validation_before_training(tmp_path):
    splits = splits_of(tmp_path, train=["a", "b", "c"], validation=["b", "c"], test=["c", "d"])
    assert left_out(splits) == {"train": {1, 2}, "validation": {1}, "test": set()}


def test_within_a_split_the_first_stays(tmp_path):
    assert left_out(splits_of(tmp_path, train=["a", "b", "a", "a"], test=["x", "x"])) == {"train": {2, 3}, "test": {1}}


def test_a_text_with_other_labels_is_no_repetition_but_a_conflict(tmp_path):
    splits = splits_of(tmp_path, train=[row("a", "good"), row("b", "good"), row("a", "bad"), row("b", "good")], test=[row("a", "good")])
    copy, conflict = "the same text stands elsewhere", "the same text stands elsewhere with other labels"
    assert surplus(splits) == {"train": {0: conflict, 2: conflict, 3: copy}, "test": {0: conflict}}


def test_clean_data_lose_nothing(tmp_path):
    assert left_out(splits_of(tmp_path, train=["a", "b"], test=["c"])) == {"train": set(), "test": set()}
