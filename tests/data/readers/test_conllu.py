import pytest

from tests.data.reading import Reading, written

CONTENT = """# newdoc id = letters
# sent_id = l-1
# text = Don't go, Zoë.
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\tSpaceAfter=No
4\t,\t,\tPUNCT\t,\t_\t3\tpunct\t_\t_
4.1\tnow\tnow\tADV\t_\t_\t_\t_\t3:advmod\t_
5\tZoë\tZoë\tPROPN\tNNP\t_\t3\tvocative\t_\tSpaceAfter=No|Gloss=name
6\t.\t.\tPUNCT\t.\t_\t3\tpunct\t_\t_

# newdoc id = menus
# sent_id = m-1
1-2\tdu\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
1\tde\tde\tADP\t_\t_\t3\tcase\t_\t_
2\tle\tle\tDET\t_\t_\t3\tdet\t_\t_
3\tpain\tpain\tNOUN\t_\t_\t0\troot\t_\t_
"""


@pytest.fixture
def found(tmp_path):
    return Reading(written(tmp_path, "a.conllu", CONTENT), "pos")


def test_the_text_is_spaced_as_the_file_says(found):
    assert found[0].text == "Don't go, Zoë."


def test_each_syntactic_word_has_its_tag(found):
    assert [(found[0].text[start:end], tag) for start, end, tag in found[0].spans] == [
        ("Do", "AUX"), ("n't", "PART"), ("go", "VERB"), (",", "PUNCT"), ("Zoë", "PROPN"), (".", "PUNCT"),
    ]  # fmt: skip


def test_a_token_that_its_words_do_not_spell_is_respelt_and_counted(found):
    assert found[1].text == "de lepain"
    assert found.audit.counts["multi-word tokens respelt"] == 1


def test_empty_nodes_are_no_words_and_are_counted(found):
    assert found.audit.counts["empty nodes"] == 1


def test_sentences_have_their_ids_and_documents(found):
    assert [(example.id, example.document) for example in found] == [("l-1", "letters"), ("m-1", "menus")]


def test_another_column_holds_the_tags_where_the_settings_say_so(tmp_path):
    found = Reading(written(tmp_path, "a.conllu", CONTENT), "pos", tags="deprel")
    assert [tag for _, _, tag in found[1].spans] == ["case", "det", "root"]
