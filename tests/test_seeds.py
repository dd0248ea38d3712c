"""Trainings over several seeds: their folders, what they have in common, and going on with them."""

import json
import os

import numpy as np
import pytest
import yaml

import tunny
from tests.training.runs import PowerCut, cut_at, files, go, manifest, model_bytes, settings, write_ner
from tunny.config import load_config
from tunny.core.errors import ConfigError, RunError, UserError
from tunny.core.files import locked
from tunny.run import train

SHORT = {"train__epochs": 1, "train__learning_rate": 2e-2}  # ten steps a run


def several(folder, model, *seeds, **changes):
    return settings(folder, model, **{**SHORT, "train__seeds": list(seeds), **changes})


def with_train(values, **changes):
    return {**values, "train": {**values["train"], **changes}}


def summary(folder):
    return json.loads((folder / "seeds.json").read_text())


@pytest.fixture(scope="module")
def three(tiny_bert, tmp_path_factory):
    """Three runs with validation and test data, and what was said of them."""
    folder = tmp_path_factory.mktemp("three")
    values = several(folder, tiny_bert, 3, 1, 2, data__test=str(write_ner(folder / "test.conll", 9, 900)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNNY_CACHE", str(folder / "cache"))
        return values, tunny.train(values)


def test_each_run_is_the_single_run_of_its_seed(three, tmp_path):
    values, folder = three
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["seed-1", "seed-2", "seed-3"]
    alone = go({**with_train(values, seeds=None), "seed": 2, "output_dir": str(tmp_path / "alone")})
    assert model_bytes(folder / "seed-2") == model_bytes(alone)
    assert len({model_bytes(folder / f"seed-{seed}") for seed in (1, 2, 3)}) == 3


def test_the_config_of_a_run_makes_it_again(three, tmp_path):
    saved = yaml.safe_load((three[1] / "seed-3" / "config.yaml").read_text())
    assert (saved["seed"], saved["train"]["seeds"], saved["output_dir"]) == (3, None, str(three[1] / "seed-3"))
    again = train(load_config(three[1] / "seed-3" / "config.yaml", flags=[("output_dir", str(tmp_path / "again"))]))
    assert model_bytes(again) == model_bytes(three[1] / "seed-3")


def test_every_metric_has_mean_deviation_range_and_each_runs_value(three):
    found = summary(three[1])
    assert found["seeds"] == [3, 1, 2]
    assert found["metrics"].keys() == {"validation", "test"}
    for part, metrics in found["metrics"].items():
        runs = {seed: json.loads((three[1] / f"seed-{seed}" / part / "metrics.json").read_text())["metrics"] for seed in (3, 1, 2)}
        assert metrics.keys() == runs[1].keys() > {"f1", "precision", "loss"}
        for name, row in metrics.items():
            values = [run[name] for run in runs.values()]
            assert row["values"] == {str(seed): run[name] for seed, run in runs.items()}
            assert (row["lowest"], row["highest"]) == (min(values), max(values))
            assert (row["mean"], row["std"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)), rel=1e-12)


def test_the_best_seed_is_that_of_the_deciding_metric_on_validation_data(three):
    found, values = summary(three[1]), summary(three[1])["metrics"]["validation"]["f1"]["values"]
    assert found["best"]["metric"] == "validation/f1"
    assert found["best"]["value"] == max(values.values()) == values[str(found["best"]["seed"])]
    assert (three[1] / found["best"]["model"]).is_dir()


def test_of_losses_the_lowest_is_the_best(tmp_path, tiny_bert):
    found = summary(tunny.train(several(tmp_path, tiny_bert, 1, 2, train__metric_for_best="loss", train__max_steps=2)))
    values = found["metrics"]["validation"]["loss"]["values"]
    assert found["best"]["value"] == min(values.values()) == values[str(found["best"]["seed"])]


def test_the_report_has_a_table_of_each_set_and_is_printed(tmp_path, tiny_bert, capsys):
    folder = tunny.train(several(tmp_path, tiny_bert, 5, 6, train__max_steps=2))
    report, found = (folder / "report.md").read_text(), summary(folder)
    loss = found["metrics"]["validation"]["loss"]
    numbers = [loss[name] for name in ("mean", "std", "lowest", "highest")] + list(loss["values"].values())
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines() if line.startswith("|")]
    assert cells[0] == ["metric", "mean", "std", "lowest", "highest", "seed 5", "seed 6"]
    assert ["loss", *(f"{number:.4f}" for number in numbers)] in cells
    assert f"Best by validation/f1: seed {found['best']['seed']}" in report
    assert report in capsys.readouterr().err


def test_data_are_read_and_encoded_once(tmp_path, tiny_bert, capsys):
    tunny.train(several(tmp_path, tiny_bert, 1, 2, train__max_steps=1))
    said = capsys.readouterr().err.partition("seed 2, 2 of 2")
    assert "nothing to tokenise" not in said[0]
    assert "train: encoded data found in the cache, nothing to tokenise" in said[2]


@pytest.mark.parametrize(("given", "dealt_by"), [(None, 42), (7, 7)])
def test_all_runs_deal_documents_alike(tmp_path, tiny_bert, given, dealt_by):
    split = {"validation": 0.2, "test": 0.2, "seed": given}
    folder = tunny.train(several(tmp_path, tiny_bert, 1, 2, data__validation=None, data__split=split, train__max_steps=1))
    first, second = (json.loads((folder / f"seed-{seed}" / "split.json").read_text()) for seed in (1, 2))
    assert first == second
    assert first["seed"] == dealt_by == yaml.safe_load((folder / "seed-1" / "config.yaml").read_text())["data"]["split"]["seed"]
    assert summary(folder)["metrics"].keys() == {"validation", "test"}


def test_a_single_seed_has_no_deviation(tmp_path, tiny_bert):
    row = summary(tunny.train(several(tmp_path, tiny_bert, 4, train__max_steps=1)))["metrics"]["validation"]["loss"]
    assert row["std"] is None
    assert row["mean"] == row["values"]["4"]


def test_without_validation_data_no_seed_is_the_best(tmp_path, tiny_bert):
    test = str(write_ner(tmp_path / "test.conll", 9, 900))
    found = summary(tunny.train(several(tmp_path, tiny_bert, 1, 2, data__validation=None, data__test=test, train__max_steps=1)))
    assert found["best"] is None
    assert found["metrics"].keys() == {"test"}


# -- going on, starting again ------------------------------------------------------------------------------------------


def stopped_in_the_second(values):
    with cut_at(16), pytest.raises(PowerCut):  # step 6 of the second run
        tunny.train(values)


def test_resuming_leaves_finished_runs_alone_and_goes_on_with_the_interrupted_one(three, tmp_path, tiny_bert):
    values = {**three[0], "output_dir": str(tmp_path / "run"), "checkpoint": {"every_steps": 2}}
    stopped_in_the_second(values)
    before = files(tmp_path / "run" / "seed-3")
    assert not (tmp_path / "run" / "seeds.json").exists()
    folder = tunny.train(values, resume=True)
    assert files(folder / "seed-3") == before
    assert [manifest(folder / f"seed-{seed}")["resumed_from"] for seed in (3, 1, 2)] == [[], [4], []]
    for seed in (3, 1, 2):
        assert model_bytes(folder / f"seed-{seed}") == model_bytes(three[1] / f"seed-{seed}")
    assert (folder / "seeds.json").read_bytes() == (three[1] / "seeds.json").read_bytes()


def test_resuming_when_all_are_finished_changes_nothing(three):
    before = files(three[1])
    assert tunny.train(three[0], resume=True) == three[1]
    assert files(three[1]) == before


def test_more_seeds_may_be_added_on_resuming(tmp_path, tiny_bert):
    values = several(tmp_path, tiny_bert, 1, train__max_steps=1)
    before = files(tunny.train(values) / "seed-1")
    folder = tunny.train(with_train(values, seeds=[1, 8]), resume=True)
    assert files(folder / "seed-1") == before
    assert summary(folder)["seeds"] == [1, 8]


@pytest.mark.parametrize(("change", "message"), [(("train", "learning_rate", 1e-4), "train.learning_rate"), (("evaluate", "max_examples", 3), "evaluate.max_examples")])  # fmt: skip
def test_runs_of_other_settings_are_not_mixed(three, change, message):
    section, key, value = change
    before = files(three[1])
    with pytest.raises(RunError, match=f"seed-3: belongs to another config than this one .{message} is {value} and was"):
        tunny.train({**three[0], section: {**three[0].get(section, {}), key: value}}, resume=True)
    assert files(three[1]) == before


def test_runs_on_other_data_are_not_mixed(tmp_path, tiny_bert):
    values = several(tmp_path, tiny_bert, 1, train__max_steps=1)
    folder = tunny.train(values)
    write_ner(tmp_path / "train.conll", 40, start=1)
    with pytest.raises(RunError, match="the data of seed-2 were others than those of seed-1"):
        tunny.train(with_train(values, seeds=[1, 2]), resume=True)
    assert not (folder / "seeds.json").exists()


def test_overwriting_starts_all_again_and_leaves_no_former_run(tmp_path, tiny_bert):
    values = several(tmp_path, tiny_bert, 1, 2, 3, train__max_steps=1)
    folder = tunny.train(values)
    (folder / "seed-3" / "notes.txt").write_text("mine")
    with cut_at(3), pytest.raises(PowerCut):
        tunny.train(with_train(values, seeds=[1, 2], max_steps=4), overwrite=True)
    assert {path.name for path in folder.iterdir() if path.is_file()} == {".lock"}
    assert not (folder / "seed-2" / "manifest.json").exists()
    assert files(folder / "seed-3") == {"notes.txt": b"mine"}
    tunny.train(with_train(values, seeds=[1, 2], max_steps=4), overwrite=True)
    assert [manifest(folder / f"seed-{seed}")["steps"] for seed in (1, 2)] == [4, 4]


def test_overwriting_with_a_bad_setting_leaves_the_former_runs(three):
    before = files(three[1])
    with pytest.raises(UserError, match="metric_for_best"):
        tunny.train(with_train(three[0], metric_for_best="f2"), overwrite=True)
    assert files(three[1]) == before


# -- refused -----------------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_runs_is_refused_and_left_as_it_is(three):
    before = files(three[1])
    with pytest.raises(RunError, match=r"already holds seed-1, seed-2, seed-3.*--resume.*--overwrite") as caught:
        tunny.train(three[0])
    assert caught.value.exit_code == 2
    with pytest.raises(RunError, match="give one of the two"):
        tunny.train(three[0], resume=True, overwrite=True)
    assert files(three[1]) == before


def test_a_single_run_and_several_never_share_a_folder(tmp_path, tiny_bert, three):
    values = settings(tmp_path, tiny_bert, train__max_steps=1)
    before = files(tunny.train(values))
    with pytest.raises(RunError, match="holds a single run"):
        tunny.train(with_train(values, seeds=[1]), overwrite=True)
    with pytest.raises(RunError, match="holds the runs seed-1, seed-2, seed-3"):
        tunny.train(with_train(three[0], seeds=None), overwrite=True)
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("name", "message"), [("report.md", "holds report.md, but no run"), ("seed-2/test/mine.txt", "holds test, but no run")]
)
def test_files_that_are_not_ours_are_never_replaced(tmp_path, tiny_bert, name, message):
    mine = tmp_path / "run" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(RunError, match=message):
        tunny.train(several(tmp_path, tiny_bert, 1, 2), overwrite=True)
    assert files(tmp_path / "run") == {name: b"mine"}


def test_two_commands_cannot_share_a_folder(tmp_path, tiny_bert):
    with locked(tmp_path / "run"), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        tunny.train(several(tmp_path, tiny_bert, 1, 2))


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([], r"train.seeds: expected one seed or more, each once.*found \[\]"),
        ([1, 2, 1], r"train.seeds: expected one seed or more, each once.*found \[1, 2, 1\]"),
        ([1, -2], r"train.seeds: must be greater than or equal to 0, found \[1, -2\]"),
        (3, "train.seeds: expected list of integer . null, found 3"),
    ],
)
def test_seeds_that_are_none_are_refused_before_anything_is_written(tmp_path, tiny_bert, seeds, message):
    with pytest.raises(ConfigError, match=message) as caught:
        tunny.train(settings(tmp_path, tiny_bert, train__seeds=seeds))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_the_command_trains_every_seed_that_a_flag_names(tmp_path, tiny_bert, tunny):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings(tmp_path, tiny_bert, train__max_steps=1)))
    done = tunny("train", "config.yaml", "--train.seeds", "[1, 2]")
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path / "run")["seeds"] == [1, 2]
    assert tunny("train", "config.yaml", "--train.seeds", "[1, 2]").returncode == 2
