import pytest
from pydantic import ValidationError

from tunny.core.errors import ConfigError
from tunny.data.settings import DataSettings, EncodeSettings, resolve_path, split_paths


def test_a_stride_above_half_a_window_is_refused():
    EncodeSettings(max_tokens=128, stride=64)
    with pytest.raises(ValidationError, match=r"stride must be at most half of max_tokens \(64\)"):
        EncodeSettings(max_tokens=128, stride=65)


def test_an_encoding_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="no encoding is called 'utf-9'"):
        DataSettings(encoding="utf-9")


@pytest.mark.parametrize("names", [{}, {"a/b": "x"}, {"": "x"}])
def test_names_of_validation_sets_are_plain(names):
    with pytest.raises(ValidationError, match="names of validation sets"):
        DataSettings(validation=names)


@pytest.mark.parametrize(
    ("value", "paths"), [(None, {}), ("a", {"": ["a"]}), (["a", "b"], {"": ["a", "b"]}), ({"x": "a", "y": "b"}, {"x": ["a"], "y": ["b"]})]
)
def test_a_split_is_one_list_of_files_or_several_named(value, paths):
    assert split_paths(value) == paths


def test_a_path_is_taken_from_the_configs_folder_where_only_that_exists(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "near.csv").touch()
    assert resolve_path("near.csv", tmp_path) == str(tmp_path / "near.csv")
    assert resolve_path("absent.csv", tmp_path) == "absent.csv"
    (tmp_path / "here" / "near.csv").touch()
    assert resolve_path("near.csv", tmp_path) == "near.csv"


def test_a_path_of_a_config_that_means_two_files_is_refused(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("near.csv", "here/near.csv", "only.tsv"):
        (tmp_path / name).touch()
    (tmp_path / "here" / "only.tsv").symlink_to(tmp_path / "only.tsv")
    for name in ("near.csv", "*.csv"):
        with pytest.raises(ConfigError) as caught:
            resolve_path(name, tmp_path, "data.train")
        assert str(caught.value).startswith(
            f"data.train: '{name}' may be {tmp_path / 'here' / name} (from the current folder) or {tmp_path / name} "
        )
    assert resolve_path("*.tsv", tmp_path, "data.train") == "*.tsv"  # one file by two names
