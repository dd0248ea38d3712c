"""The commands as functions: settings given in Python are checked as those of the command line are."""

import pytest

import tunny


@pytest.mark.parametrize("command", [tunny.evaluate, tunny.predict])
def test_a_mistyped_column_is_refused_before_anything_is_read(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tunny.UserError, match=r"^arguments: unknown setting 'data\.txt'; did you mean 'data\.text'"):
        command("no-model", "no-data.csv", "out", txt="body")
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("config", [{"task": "nre"}, "nowhere.yaml", {"task": "ner"}])
def test_a_wrong_config_is_the_users_to_mend(tmp_path, monkeypatch, config):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tunny.UserError):
        tunny.train(config)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_config_of_our_own_type_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tunny.Config.model_validate({"task": {"kind": "ner"}, "data": {"train": "nowhere.conll"}, "output_dir": "run"})
    with pytest.raises(tunny.UserError, match=r"nowhere\.conll"):
        tunny.train(config)
    assert [path.name for path in tmp_path.iterdir()] == []
