"""Layers of settings: what each source says, and how they merge into one tree."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from tunny.core.errors import ConfigError
from tunny.core.settings import (
    Layer,
    Settings,
    dotenv,
    dump_yaml,
    environment_layer,
    flag_layer,
    params_layer,
    parse_value,
    read_environment,
    resolve,
    yaml_layer,
)


class Sail(Settings):
    area: float = Field(10.0, gt=0)
    colours: list[str] = Field(default_factory=list)
    ropes: dict[str, float] = Field(default_factory=dict)
    maker: str | None = None


class Boat(Settings):
    name: str = "Turbot"
    crew: int = 2
    sail: Sail = Sail()


def write(folder: Path, text: str | bytes, name: str = "boat.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def layer(**values):
    return Layer(values, dict.fromkeys(values, "here"))


def merged(*layers, variables=None):
    return resolve(Boat, layers, {}, variables or {})


# -- one value ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("0", 0),
        ("0.5", 0.5),
        ("-1.25", -1.25),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("[B-PER, I-PER, O]", ["B-PER", "I-PER", "O"]),
        ("[-1, -2.5]", [-1, -2.5]),
        ("[a-b, -c, '5']", ["a-b", "-c", "5"]),
        ("{PER: 2, O: 0.5}", {"PER": 2, "O": 0.5}),
        ("'5'", "5"),
        ('"two words"', "two words"),
        ('"\\t"', "\t"),
    ],
)
def test_a_value_is_read_as_yaml_reads_it(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "5e-5", "010", "1.10", "1_000", "0x1f", "+5", ".nan", "no", "yes", "on", "off", "2024-01-01", "12:30", "|", ">", "#", ",", ";",
        "-", "?", ":", "*.csv", "&a", "!b", "@c", "%", "[ab]*.csv", "${HOME}", " ", "a: b", "- a", '"half', "x y",
    ],
)  # fmt: skip
def test_what_yaml_would_turn_into_something_else_stays_text(text):
    assert parse_value(text) == text


@settings(deadline=None)
@given(st.one_of(st.integers(), st.booleans(), st.none(), st.lists(st.text("abcXYZ-.", min_size=1)), st.lists(st.integers())))
def test_a_value_dumped_as_json_reads_back(value):
    assert parse_value(json.dumps(value)) == value


# -- YAML --------------------------------------------------------------------------------------------------------------


def test_each_value_of_a_file_keeps_its_line(tmp_path):
    found = yaml_layer(write(tmp_path, "name: Cod\n\nsail:\n  # canvas\n  area: 3\n"))
    assert found.places == {"name": "boat.yaml:1", "sail": "boat.yaml:3", "sail.area": "boat.yaml:5"}


@pytest.mark.parametrize("text", [b"name: Cod\r\ncrew: 4\r\n", b"\xef\xbb\xbfname: Cod\ncrew: 4\n", b"\xef\xbb\xbfname: Cod\r\ncrew: 4"])
def test_windows_line_ends_and_a_byte_order_mark_are_understood(tmp_path, text):
    found = yaml_layer(write(tmp_path, text))
    assert found.values == {"name": "Cod", "crew": 4}
    assert found.places["crew"] == "boat.yaml:2"


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_an_empty_file_sets_nothing(tmp_path, text):
    assert yaml_layer(write(tmp_path, text)).values == {}


@pytest.mark.parametrize(("text", "kind"), [("- a\n- b\n", "seq"), ("just words\n", "str"), ("5\n", "int")])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, kind):
    with pytest.raises(ConfigError, match=rf"boat\.yaml:1: expected settings as 'name: value', found a {kind}"):
        yaml_layer(write(tmp_path, text))


def test_a_key_set_twice_is_reported_with_both_lines(tmp_path):
    found = yaml_layer(write(tmp_path, "crew: 1\nsail:\n  area: 2\n  area: 3\ncrew: 4\n"))
    assert found.problems == [
        "boat.yaml:4: 'sail.area' is set twice; the first time at boat.yaml:3",
        "boat.yaml:5: 'crew' is set twice; the first time at boat.yaml:1",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [("name: [Cod\ncrew: 3\n", 2), ("name: Cod\n\tcrew: 3\n", 2), ("crew: !!python/name:os.system\n", 1), ("a: 1\n---\nb: 2\n", 2)],
)
def test_text_that_is_no_yaml_is_refused_with_its_line(tmp_path, text, line):
    with pytest.raises(ConfigError) as caught:
        yaml_layer(write(tmp_path, text))
    assert str(caught.value).startswith(f"boat.yaml:{line}: not valid YAML: ")
    assert "\n" not in str(caught.value)


def test_a_control_character_is_refused_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"not valid YAML: [^\n]*$"):
        yaml_layer(write(tmp_path, "name: a\x07b\n"))


def test_bytes_that_are_not_utf8_are_refused_with_their_place(tmp_path):
    with pytest.raises(ConfigError, match="expected UTF-8 text, found byte 0xf6 at 7"):
        yaml_layer(write(tmp_path, "name: Göran\n".encode("latin-1")))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such config file"):
        yaml_layer(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", ["boat.yaml", "boat.yml"])
def test_a_folder_with_one_yaml_file_stands_for_it(tmp_path, name):
    write(tmp_path, "crew: 5\n", name)
    write(tmp_path, "{}", "other.json")
    assert yaml_layer(tmp_path).values == {"crew": 5}


@pytest.mark.parametrize("names", [[], ["a.yaml", "b.yml"]])
def test_a_folder_with_none_or_two_is_refused(tmp_path, names):
    for name in names:
        write(tmp_path, "crew: 5\n", name)
    with pytest.raises(ConfigError, match=f"expected one YAML file in this folder, found {len(names)}"):
        yaml_layer(tmp_path)


def test_words_that_yaml_takes_for_truth_dates_or_octals_stay_text_in_a_file(tmp_path):
    found = yaml_layer(write(tmp_path, "colours: [no, yes, 2024-01-01, 010, 1.10, 12:30]\n"))
    assert found.values["colours"] == ["no", "yes", "2024-01-01", "010", "1.10", "12:30"]


def test_anchors_and_merge_keys_work(tmp_path):
    found = yaml_layer(write(tmp_path, "sail: &s {area: 3}\nspare: {<<: *s, maker: Ann}\n"))
    assert found.values["spare"] == {"area": 3, "maker": "Ann"}
    assert found.problems == []


# -- environment, flags, --params --------------------------------------------------------------------------------------


def test_the_environment_gives_typed_values_under_dotted_names():
    found = environment_layer({"TUNNY__CREW": "4", "TUNNY__SAIL__COLOURS": "[red, B-PER]", "HOME": "/x", "TUNNY_CACHE": "y"})
    assert found.values == {"crew": 4, "sail.colours": ["red", "B-PER"]}
    assert found.places["sail.colours"] == "environment TUNNY__SAIL__COLOURS"


def test_a_flag_without_a_value_is_true():
    assert flag_layer([("sail.furled", None)]).values == {"sail.furled": True}


def test_params_are_typed_by_json_and_need_no_dashes():
    found = params_layer('{"--sail.area": 2.5, "crew": -1, "sail.colours": ["a-b"]}')
    assert found.values == {"sail.area": 2.5, "crew": -1, "sail.colours": ["a-b"]}
    assert found.places["crew"] == "--params crew"


@pytest.mark.parametrize(("text", "what"), [("{crew: 3}", "not valid JSON"), ("", "not valid JSON"), ("[1]", "expected a JSON object")])
def test_params_that_are_no_json_object_are_refused(text, what):
    with pytest.raises(ConfigError, match=f"--params: {what}"):
        params_layer(text)


def test_a_dotenv_file_is_read_with_comments_export_and_quotes(tmp_path):
    text = "# secrets\nA=1\nexport B = two words # note\nC='a # b'\nD=\"x=y\"\n\nE=\nnot a line\nF=a#b\n"
    assert dotenv(write(tmp_path, text, ".env")) == {"A": "1", "B": "two words", "C": "a # b", "D": "x=y", "E": "", "F": "a#b"}


def test_a_missing_dotenv_file_says_nothing(tmp_path):
    assert dotenv(tmp_path / ".env") == {}


def test_a_dotenv_file_that_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\.env: expected UTF-8 text"):
        dotenv(write(tmp_path, b"A=\xff\n", ".env"))


def test_the_environment_overrules_the_dotenv_file(tmp_path, monkeypatch):
    write(tmp_path, "TUNNY_A=file\nTUNNY_B=file\n", ".env")
    monkeypatch.setenv("TUNNY_A", "environment")
    found = read_environment(tmp_path)
    assert (found["TUNNY_A"], found["TUNNY_B"]) == ("environment", "file")


# -- the tree ----------------------------------------------------------------------------------------------------------


def test_a_later_layer_overrules_an_earlier_one_and_leaves_the_rest():
    found = merged(layer(crew=1, sail={"area": 2.0, "maker": "Ann"}), layer(**{"sail.area": 3.0})).settings
    assert (found.crew, found.sail.area, found.sail.maker) == (1, 3.0, "Ann")


def test_a_list_replaces_a_list():
    found = merged(layer(**{"sail.colours": ["red", "white"]}), layer(**{"sail.colours": ["blue"]}))
    assert found.settings.sail.colours == ["blue"]


def test_null_takes_back_a_value():
    assert merged(layer(**{"sail.maker": "Ann"}), layer(**{"sail.maker": None})).settings.sail.maker is None


def test_a_section_with_nothing_in_it_has_its_defaults():
    assert merged(layer(sail=None)).settings.sail == Sail()


def test_dots_inside_a_mapping_of_names_do_not_part_it(tmp_path):
    path = write(tmp_path, "sail:\n  ropes: {U.S.: 1, '.': 2.5}\n")
    assert merged(yaml_layer(path)).settings.sail.ropes == {"U.S.": 1.0, ".": 2.5}


def test_a_dotted_name_works_in_a_file_too(tmp_path):
    assert merged(yaml_layer(write(tmp_path, "sail.area: 7\n"))).settings.sail.area == 7.0


def test_numbers_are_text_where_text_is_asked_for():
    assert merged(layer(name=7)).settings.name == "7"


def test_exponents_without_a_dot_are_numbers_where_numbers_are_asked_for(tmp_path):
    assert merged(yaml_layer(write(tmp_path, "sail: {area: 5e-5}\n"))).settings.sail.area == 5e-5


@pytest.mark.parametrize("text", ["nan", ".nan", "inf", "1e999"])
def test_numbers_that_are_not_finite_are_refused(text):
    with pytest.raises(ConfigError, match=r"here: sail\.area"):
        merged(layer(**{"sail.area": text}))


def test_variables_are_expanded_for_use_and_kept_as_written_in_the_copy():
    values = {"name": "${WHO}-1", "crew": "${CREW}", "sail": {"colours": ["${WHO}", "red"], "ropes": {"main": "${CREW}"}}}
    found = merged(layer(**values), variables={"WHO": "Cod", "CREW": "4"})
    assert found.settings == Boat(name="Cod-1", crew=4, sail=Sail(colours=["Cod", "red"], ropes={"main": 4.0}))
    assert found.written == {
        "name": "${WHO}-1", "crew": "${CREW}",
        "sail": {"area": 10.0, "colours": ["${WHO}", "red"], "ropes": {"main": "${CREW}"}, "maker": None},
    }  # fmt: skip


def test_a_missing_variable_is_named_with_its_place(tmp_path):
    with pytest.raises(ConfigError, match=r"^boat\.yaml:2: \$\{WHO\} is not set in the environment or \.env$"):
        merged(yaml_layer(write(tmp_path, "crew: 3\nname: a ${WHO}\n")))


def test_an_expanded_secret_stands_in_no_message():
    with pytest.raises(ConfigError) as caught:
        merged(layer(crew="${TOKEN}"), variables={"TOKEN": "hush-hush"})
    assert "hush" not in str(caught.value)
    assert "found '${TOKEN}'" in str(caught.value)


def test_short_forms_are_spelt_out_in_every_layer():
    shorthands = {"sail": lambda area, below: {"area": area}}
    found = resolve(Boat, [layer(sail={"maker": "Ann"}), layer(sail=4)], shorthands, {})
    assert found.settings.sail == Sail(area=4.0, maker="Ann")


@settings(deadline=None)
@given(
    st.builds(
        Boat, name=st.text(), crew=st.integers(),
        sail=st.builds(
            Sail, area=st.floats(min_value=1e-300, allow_infinity=False), colours=st.lists(st.text()),
            ropes=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)), maker=st.none() | st.text(),
        ),
    ).filter(lambda boat: "${" not in str(boat))
)  # fmt: skip
def test_a_dumped_tree_reads_back_equal(tmp_path_factory, boat):
    path = write(tmp_path_factory.mktemp("boats"), dump_yaml(boat.model_dump()))
    assert merged(yaml_layer(path)).settings == boat
