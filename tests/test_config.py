"""All settings together: where they come from, who overrules whom, what is saved, and what is said of mistakes."""

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunny.config import (
    Config,
    changed_settings,
    load_config,
    load_file_settings,
    saved_yaml,
    settings_markdown,
    settings_schema,
    settings_table,
    split_settings,
)
from tunny.core.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test works in an empty folder, so that no `.env` but its own is read."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "config.yaml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def problems(*arguments, **named) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(*arguments, **named)
    return str(caught.value).splitlines()


NER = [("task", "ner")]


# -- precedence --------------------------------------------------------------------------------------------------------


def test_each_source_overrules_the_one_before_it(monkeypatch):
    sources = ("yaml", "dotenv", "environment", "flags", "params")
    keys = ("name", "model.name", "model.revision", "model.tokenizer", "output_dir")
    path = write("task: ner\n" + "".join(f"{key}: yaml\n" for key in keys))
    write("".join(f"TUNNY__{key.upper().replace('.', '__')}=dotenv\n" for key in keys[1:]), ".env")
    for key in keys[2:]:
        monkeypatch.setenv(f"TUNNY__{key.upper().replace('.', '__')}", "environment")
    flags = [*((key, "flags") for key in keys[3:]), ("params", '{"--output_dir": "params"}')]
    found = load_config(path, flags).settings
    assert (found.name, found.model.name, found.model.revision, found.model.tokenizer, found.output_dir) == sources


def test_what_nobody_sets_has_its_default():
    found = load_config(flags=NER).settings
    assert (found.seed, found.train.learning_rate, found.encode.max_tokens, found.data.train) == (42, 5e-5, 256, None)


def test_params_overrule_flags_wherever_they_stand():
    found = load_config(flags=[*NER, ("params", '{"--seed": 1}'), ("seed", "2")]).settings
    assert found.seed == 1


def test_of_a_flag_given_twice_the_last_holds():
    assert load_config(flags=[*NER, ("seed", "1"), ("seed", "2")]).settings.seed == 2


def test_values_of_the_environment_are_typed(monkeypatch):
    monkeypatch.setenv("TUNNY__DATA__LABELS", "[B-PER, O]")
    monkeypatch.setenv("TUNNY__TRAIN__MAX_STEPS", "7")
    monkeypatch.setenv("TUNNY__TRAIN__LEARNING_RATE", "5e-5")
    monkeypatch.setenv("TUNNY__DATA__HEADER", "false")
    found = load_config(flags=NER).settings
    assert (found.data.labels, found.train.max_steps, found.train.learning_rate, found.data.header) == (["B-PER", "O"], 7, 5e-5, False)


def test_null_takes_back_what_a_file_set():
    path = write("task: ner\ndata: {train: a.conll, labels: [O, B-PER]}\n")
    assert load_config(path, [("data.labels", "null")]).settings.data.labels is None


def test_python_values_stand_where_a_file_would():
    found = load_config(values={"task": "ner", "train": {"epochs": 2}}, flags=[("train.batch_size", "4")]).settings
    assert (found.train.epochs, found.train.batch_size) == (2, 4)


def test_python_paths_are_paths(folder):
    assert load_config(values={"task": "ner", "data": {"train": folder / "a.conll"}}).settings.data.train == str(folder / "a.conll")


def test_what_differs_from_the_defaults_is_told_as_written_and_without_places(monkeypatch):
    monkeypatch.setenv("COLUMN", "body")
    flags = [
        ("data.text", "${COLUMN}"),
        ("data.train", "a.csv"),
        ("model.name", "other"),
        ("model.freeze_layers", "2"),
        ("train.epochs", "3"),
    ]
    found = changed_settings(load_config(flags=[*NER, *flags, ("output_dir", "x"), ("seed", "7")]))
    assert found == {
        "seed": 7,
        "task": {"kind": "ner"},
        "data": {"text": "${COLUMN}"},
        "model": {"freeze_layers": 2},
    }  # 3 epochs are the default


# -- short forms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ner", "pos", "chunk", "classify", "multilabel", "regress"])
def test_every_kind_of_task_has_its_short_form(kind):
    assert load_config(flags=[("task", kind)]).settings.task.kind == kind


def test_the_short_form_of_the_task_works_in_every_source(monkeypatch):
    assert load_config(write("task: pos\n")).settings.task.kind == "pos"
    assert load_config(flags=[("params", '{"--task": "chunk"}')]).settings.task.kind == "chunk"
    assert load_config(values={"task": "regress"}).settings.task.kind == "regress"
    write("TUNNY__TASK=multilabel\n", ".env")
    assert load_config().settings.task.kind == "multilabel"
    monkeypatch.setenv("TUNNY__TASK", "classify")
    assert load_config().settings.task.kind == "classify"


def test_the_short_form_leaves_the_other_settings_of_the_task():
    path = write("task: {kind: ner, label_smoothing: 0.1}\n")
    found = load_config(path, [("task", "pos")]).settings.task
    assert (found.kind, found.label_smoothing) == ("pos", 0.1)


@pytest.mark.parametrize("text", ["track: [tensorboard]", "track: tensorboard", "track: {tensorboard: {}}", "track.tensorboard: {}"])
def test_trackers_have_short_forms_in_a_file(text):
    found = load_config(write(f"task: ner\n{text}\n")).settings.track
    assert found.tensorboard is not None


@pytest.mark.parametrize("flag", [("track", "[tensorboard]"), ("track", "tensorboard"), ("track.tensorboard", "{}")])
def test_trackers_have_short_forms_on_the_command_line(flag):
    assert load_config(flags=[*NER, flag]).settings.track.tensorboard is not None


def test_an_empty_list_of_trackers_takes_them_back():
    assert load_config(write("task: ner\ntrack: [tensorboard]\n"), [("track", "[]")]).settings.track.tensorboard is None


# -- files and places --------------------------------------------------------------------------------------------------


def test_config_path_names_the_config():
    assert load_config(flags=[("config_path", str(write("task: ner\nseed: 9\n")))]).settings.seed == 9


def test_a_config_named_twice_is_refused():
    path = str(write("task: ner\n"))
    assert problems(path, [("config_path", path)]) == ["command line --config_path: the config is config.yaml already; name one"]


def test_config_path_without_a_file_is_refused():
    assert problems(flags=[*NER, ("config_path", None)]) == ["command line --config_path: expected a file"]


def test_data_is_found_beside_the_config_or_where_the_command_runs(folder):
    for name in ("far/here.conll", "both.conll", "far/labels.txt", "far/dev/a.conll"):
        write("", name)
    path = write(
        "task: ner\ndata: {train: [here.conll, both.conll, no.conll], validation: {dev: dev/*.conll}, labels: labels.txt}\n", "far/c.yaml"
    )
    found = load_config(path)
    assert found.settings.data.train == ["far/here.conll", "both.conll", "no.conll"]
    assert found.settings.data.validation == {"dev": "far/dev/*.conll"}
    assert found.settings.data.labels == "far/labels.txt"
    assert found.written["data"]["train"] == [str(folder / name) for name in ("far/here.conll", "both.conll", "no.conll")]
    assert found.written["data"]["validation"] == {"dev": str(folder / "far/dev/*.conll")}


def test_a_path_of_the_config_that_means_two_files_is_refused_and_one_of_the_command_line_is_of_the_current_folder():
    for name in ("both.conll", "far/both.conll"):
        write("", name)
    path = write("task: ner\ndata: {train: x.conll, validation: {dev: both.conll}}\n", "far/c.yaml")
    assert "data.validation: 'both.conll' may be" in problems(path)[0]
    found = load_config(path, [("data.train", "both.conll"), ("data.validation", "null")])
    assert found.settings.data.train == "both.conll"
    found = load_config(path, values={"data": {"validation": {"dev": "both.conll"}}})
    assert found.settings.data.validation == {"dev": "both.conll"}


def test_data_is_found_beside_a_config_that_is_named_by_its_folder():
    write("", "far/a.conll")
    write("task: ner\ndata: {train: a.conll}\n", "far/c.yaml")
    assert load_config("far").settings.data.train == "far/a.conll"


def test_validation_may_be_a_mapping_from_every_source():
    sets = {"news": "a.conll", "web-2": "b.conll"}
    assert load_config(write("task: ner\ndata: {validation: {news: a.conll, web-2: b.conll}}\n")).settings.data.validation == sets
    assert load_config(flags=[*NER, ("data.validation", "{news: a.conll, web-2: b.conll}")]).settings.data.validation == sets
    flags = [*NER, ("data.validation.news", "a.conll"), ("data.validation.web-2", "b.conll")]
    assert load_config(flags=flags).settings.data.validation == sets


def test_label_names_with_dots_or_that_yaml_takes_for_truth_are_kept():
    path = write("task:\n  kind: pos\n  class_weights: {.: 0.5, U.S.: 2, no: 3}\ndata:\n  labels: [no, yes, ., 010]\n")
    found = load_config(path).settings
    assert found.task.class_weights == {".": 0.5, "U.S.": 2.0, "no": 3.0}
    assert found.data.labels == ["no", "yes", ".", "010"]


# -- the saved copy ----------------------------------------------------------------------------------------------------


def test_the_saved_copy_keeps_variables_as_written(monkeypatch):
    monkeypatch.setenv("WHERE", "/secret-place")
    found = load_config(write("task: ner\nname: ${WHERE}\ndata: {train: '${WHERE}/a.conll', test: ['${WHERE}/b.conll']}\n"))
    assert found.settings.data.train == "/secret-place/a.conll"
    assert found.settings.data.test == ["/secret-place/b.conll"]
    assert "secret" not in saved_yaml(found)
    assert yaml.safe_load(saved_yaml(found))["data"]["test"] == ["${WHERE}/b.conll"]


def test_the_saved_copy_spells_out_every_setting():
    saved = yaml.safe_load(saved_yaml(load_config(flags=NER)))
    assert list(saved) == list(Config.model_fields)
    assert saved["task"]["kind"] == "ner"
    assert saved["train"]["learning_rate"] == 5e-5


words = st.text(min_size=1).filter(lambda text: "${" not in text)
changes = st.fixed_dictionaries(
    {"task": st.sampled_from(["ner", "classify"]) | st.fixed_dictionaries(
        {"kind": st.just("classify"), "class_weights": st.none() | st.just("balanced") | st.dictionaries(words, st.floats(0.1, 10)),
         "threshold": st.floats(0.01, 0.99)}
    )},
    optional={
        "name": words, "seed": st.integers(0, 2**31), "track": st.just(["tensorboard"]),
        "data": st.fixed_dictionaries({}, optional={
            "train": st.sampled_from(["/x/a.conll", ["/x/a.conll", "/x/*.csv"]]), "validation": st.just({"dev": "/x/b.conll"}),
            "text": st.none() | words | st.integers(0, 9), "labels": st.none() | st.lists(words) | st.dictionaries(words, st.integers()),
            "delimiter": st.none() | words.filter(lambda word: len(word) == 1), "header": st.booleans(),
        }),
        "train": st.fixed_dictionaries({}, optional={
            "learning_rate": st.floats(1e-12, 1), "max_steps": st.none() | st.integers(1), "schedule": st.sampled_from(["linear", "cosine"])
        }),
    },
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes)
def test_the_saved_copy_reloads_to_equal_settings(values):
    first = load_config(values=values)
    again = load_config(write(saved_yaml(first), "saved.yaml"))
    assert again.settings == first.settings
    assert again.written == first.written


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_every_mistake_of_every_source_is_told_at_once_with_its_place(monkeypatch):
    path = write("task: ner\ntrain:\n  epochs: three\nseed: 1\nseed: 2\nname: ${NOBODY}\n")
    monkeypatch.setenv("TUNNY__TRAIN__BATCH_SIZE", "0")
    write("TUNNY__ENGIN__DEVICE=cpu\n", ".env")
    flags = [("model.nam", "x"), ("params", '{"--encode.max_tokens": 2}')]
    assert sorted(problems(path, flags)) == sorted(
        [
            "config.yaml:3: train.epochs: expected integer, found 'three'",
            "config.yaml:5: 'seed' is set twice; the first time at config.yaml:4",
            "config.yaml:6: ${NOBODY} is not set in the environment or .env",
            "environment TUNNY__TRAIN__BATCH_SIZE: train.batch_size: must be greater than or equal to 1, found 0",
            "environment TUNNY__ENGIN__DEVICE: unknown setting 'engin.device'; did you mean 'engine.device'?",
            "command line --model.nam: unknown setting 'model.nam'; did you mean 'model.name'?",
            "--params encode.max_tokens: encode.max_tokens: must be greater than or equal to 8, found 2",
        ]
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("task: nre", "config.yaml:1: task.kind: expected ner | pos | chunk | classify | multilabel | regress, found 'nre'; did you mean 'ner'?"),
        ("task: {kind: 5}", "config.yaml:1: task.kind: expected ner | pos | chunk | classify | multilabel | regress, found 5"),
        ("task: {label_smoothing: 0.1}", "settings: 'task.kind' is required; give --task.kind or set it in the config"),
        ("seed: 1", "settings: 'task' is required; give --task or set it in the config"),
        ("task: ner\ndata: {train: true}", "config.yaml:2: data.train: expected text | list of text | null, found true"),
        ("task: ner\ntrain: 5", "config.yaml:2: train: expected settings as {epochs: ...}, found 5"),
        ("task: ner\ntrain: [5]", "config.yaml:2: train: expected settings as {epochs: ...}, found [5]"),
        ("task: ner\ntrack: [wandb]", "config.yaml:2: unknown setting 'track.wandb'; there are track.tensorboard, track.mlflow, track.azureml, track.system"),
        ("task: ner\ntrack: [tensorbord]", "config.yaml:2: unknown setting 'track.tensorbord'; did you mean 'track.tensorboard'?"),
        ("task: ner\ntask.threshold: 0.4", "config.yaml:2: 'task.threshold' is no setting of task ner"),
        ("task: ner\nepochs: 4", "config.yaml:2: unknown setting 'epochs'; did you mean 'train.epochs'?"),
        ("task: ner\ntrain:\n  epoch: 4", "config.yaml:3: unknown setting 'train.epoch'; did you mean 'train.epochs'?"),
        ("task: ner\ndata: {validation: {a b: x}}", "config.yaml:2: data.validation: names of validation sets are letters, digits, - and _"),
        ("task: ner\nencode: {stride: 200}", "config.yaml:2: encode: stride must be at most half of max_tokens (128)"),
        ("task: ner\ntrain: {learning_rate: .inf}", "config.yaml:2: train.learning_rate: expected number, found '.inf'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_gives_one_clear_line(text, line):
    assert problems(write(text)) == [line]


def test_a_mistake_in_python_names_the_setting():
    assert problems(values={"task": "ner", "train": {"epoch": 1}}) == [
        "config: unknown setting 'train.epoch'; did you mean 'train.epochs'?"
    ]


# -- commands on files -------------------------------------------------------------------------------------------------


def test_a_command_on_files_takes_data_engine_and_task_settings(monkeypatch):
    monkeypatch.setenv("TUNNY__DATA__LABEL", "sentiment")
    given = load_file_settings([("data.text", "body"), ("engine.device", "cpu"), ("task", "classify"), ("params", '{"data.id": 0}')])
    assert given.data.model_dump(exclude_unset=True) == {"text": "body", "label": "sentiment", "id": 0}
    assert given.engine.device == "cpu"
    assert given.task.kind == "classify"


def test_a_command_on_files_refuses_other_settings():
    with pytest.raises(ConfigError, match=r"^command line --train\.epochs: unknown setting 'train\.epochs'; there are task, data, engine$"):
        load_file_settings([("train.epochs", "3")])


def test_a_command_on_files_lets_the_environment_speak_of_training(monkeypatch):
    monkeypatch.setenv("TUNNY__TRAIN__EPOCHS", "3")
    monkeypatch.setenv("TUNNY__TASK__THRESHOLD", "0.3")
    assert load_file_settings().data.model_dump(exclude_unset=True) == {}


def test_columns_given_in_python_are_checked_too():
    assert load_file_settings((), {"text": "body"}).data.text == "body"
    with pytest.raises(ConfigError, match=r"^arguments: unknown setting 'data\.txt'; did you mean 'data\.text'"):
        load_file_settings((), {"txt": "body"})


# -- what is said of them ----------------------------------------------------------------------------------------------


def test_every_setting_has_a_type_and_a_meaning():
    assert [row for row in settings_table() if not row[1] or not row[3]] == []


def test_the_table_has_every_setting_of_a_resolved_config():
    def leaves(tree, prefix=""):
        return {
            name
            for key, value in tree.items()
            for name in (leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [prefix + key])
        }

    given = {
        "task": "classify",
        "track": "[tensorboard, mlflow, azureml, system]",
        "data.split.test": "0.1",
        "distill.teacher": "t",
        "distill.student": "s",
    }
    written = load_config(flags=list(given.items())).written
    assert {name for name, *_ in settings_table()} == leaves(written)


def test_the_page_of_settings_names_each_once():
    named = re.findall(r"^\| `([a-z_.]+)` \|", settings_markdown(), re.MULTILINE)
    assert named == [name for name, *_ in settings_table()]
    assert "| `task.kind` | ner or pos or chunk or classify or multilabel or regress | `required` |" in settings_markdown()


def objects(schema):
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from objects(inner)


def test_the_schema_is_json_and_knows_every_key():
    schema = json.loads(json.dumps(settings_schema()))
    sections = [schema, *schema["$defs"].values()]
    assert all(section["type"] == "object" and section["additionalProperties"] is False for section in sections)
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["required"] == ["task"]


def test_every_reference_in_the_schema_leads_somewhere():
    schema = settings_schema()
    references = [found["$ref"] for found in objects(schema) if isinstance(found.get("$ref"), str)]
    assert references
    assert {name.removeprefix("#/$defs/") for name in references} <= set(schema["$defs"])


def test_the_types_of_the_schema_are_those_of_json():
    types = {found["type"] for found in objects(settings_schema()) if isinstance(found.get("type"), str)}
    assert types <= {"object", "array", "string", "number", "integer", "boolean", "null"}


def test_the_schema_allows_the_short_forms():
    properties = settings_schema()["properties"]
    assert {"enum": ["ner", "pos", "chunk", "classify", "multilabel", "regress"]} in properties["task"]["anyOf"]
    name = {"anyOf": [{"enum": ["tensorboard", "mlflow", "azureml", "system"]}, {"type": "string", "pattern": ":"}]}
    assert {"type": "array", "items": name} in properties["track"]["anyOf"]


def test_max_examples_may_be_told_for_each_split():
    values = {
        "task": "ner",
        "data": {"train": "t", "validation": {"a": "x", "b": "y"}, "test": "z", "max_examples": {"train": 9, "validation": 4}},
    }
    config = load_config(values=values | {"evaluate": {"max_examples": 5}}).settings
    assert {name: one.max_examples for name, one in split_settings(config).items()} == {
        "train": 9, "validation/a": 4, "validation/b": 4, "test": 5,
    }  # fmt: skip


def test_commands_on_files_refuse_a_mapping_of_splits():
    with pytest.raises(ConfigError, match=r"data\.max_examples: expected a number; a mapping is for the splits of a training"):
        load_file_settings([("data.max_examples", "{train: 3}")])
