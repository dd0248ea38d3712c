"""The program: what it takes, what it prints where, and the code it ends with."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tunny import __version__
from tunny.cli import main, take_overrides
from tunny.config import settings_markdown, settings_table

COMMANDS = (
    "train", "distill", "launch", "prepare", "evaluate", "predict", "compare", "export", "bench", "push", "run-ner", "run-glue", "check", "split", "convert", "init", "config", "env",
)  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run the program in this process: code, stdout, stderr."""

    def start(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return start


def refused(answer: tuple[int, str, str]) -> list[str]:
    """Check that a command was refused as the user's to mend, and return its lines without "error: "."""
    code, out, err = answer
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines
    assert all(line.startswith("error: ") for line in lines), err
    return [line.removeprefix("error: ") for line in lines]


# -- settings among the arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "flags", "rest"),
    [
        ("train c.yaml --train.epochs 3", [("train.epochs", "3")], "train c.yaml"),
        ("train c.yaml --train.epochs=3 --resume", [("train.epochs", "3")], "train c.yaml --resume"),
        ("train --train.epochs 3 c.yaml", [("train.epochs", "3")], "train c.yaml"),
        ("train --model.new_head --resume", [("model.new_head", None)], "train --resume"),
        ("train --model.new_head", [("model.new_head", None)], "train"),
        ("train --a.b.c.d x --a.b=-1", [("a.b.c.d", "x"), ("a.b", "-1")], "train"),
        ("train --a.b -1 --a.c -", [("a.b", "-1"), ("a.c", "-")], "train"),
        ("train --data.labels [B-PER,O]", [("data.labels", "[B-PER,O]")], "train"),
        ("train --model.name=a=b --data.train=", [("model.name", "a=b"), ("data.train", "")], "train"),
        ("train --task ner --seed=7 --name x --output_dir y --track z", [
            ("task", "ner"), ("seed", "7"), ("name", "x"), ("output_dir", "y"), ("track", "z")], "train"),
        ("train --config_path c.yaml --params {}", [("config_path", "c.yaml"), ("params", "{}")], "train"),
        ("evaluate m a.csv b.csv --out dir.v2 --data.text body", [("data.text", "body")], "evaluate m a.csv b.csv --out dir.v2"),
        ("evaluate m --out=dir/v.2 a.csv", [], "evaluate m --out=dir/v.2 a.csv"),
        ("predict m - --out -", [], "predict m - --out -"),
        ("predict m --data.text t -- --odd.name", [("data.text", "t")], "predict m -- --odd.name"),
    ],
)  # fmt: skip
def test_settings_are_parted_from_a_commands_own_options(arguments, flags, rest):
    assert take_overrides(arguments.split(" ")) == (flags, rest.split(" "))


# -- help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: tunny {command} ")


@pytest.mark.parametrize("arguments", [("--help",), ()])
def test_the_help_names_every_command(run, arguments):
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert re.findall(r"^  ([a-z-]+)  ", out.partition("Commands:")[2], re.MULTILINE) == list(COMMANDS)


def test_help_answers_in_less_than_a_third_of_a_second():
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tunny", "--help"], check=True, capture_output=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(7)) < 0.3


def test_the_version_is_printed(run):
    assert run("--version") == (0, f"tunny {__version__}\n", "")


def test_the_module_is_the_same_program(tunny):
    done = tunny("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tunny {__version__}\n", "")


# -- what the user can mend --------------------------------------------------------------------------------------------


def test_an_unknown_command_is_refused_with_the_nearest(run):
    assert refused(run("trian")) == ["No such command 'trian'. Did you mean 'train'? (see tunny --help)"]


def test_an_unknown_option_is_refused_with_the_nearest(run):
    (line,) = refused(run("train", "--resme"))
    assert line.startswith("No such option: --resme")
    assert "--resume" in line


def test_a_setting_without_its_section_is_refused_with_its_full_name(run):
    assert refused(run("train", "--epochs", "3")) == ["No such option: --epochs; did you mean 'train.epochs'? (see tunny train --help)"]


@pytest.mark.parametrize("arguments", ["evaluate", "evaluate m", "evaluate m d", "predict", "predict m", "config a b", "predict m x --to"])
def test_missing_and_surplus_arguments_are_refused_in_one_line(run, arguments):
    (line,) = refused(run(*arguments.split()))
    assert re.search(r" \(see tunny (\w+ )?--help\)$", line)


@pytest.mark.parametrize("command", ["train", "prepare", "config"])
def test_a_missing_config_is_refused(run, command):
    assert refused(run(command, "nowhere.yaml")) == ["nowhere.yaml: no such config file"]


@pytest.mark.parametrize("command", ["train", "prepare", "config"])
def test_every_wrong_setting_is_a_line(run, folder, command):
    Path("c.yaml").write_text("task: ner\ntrian: {epochs: 3}\n")
    assert refused(run(command, "c.yaml", "--seed", "x", "--encode.strid=3")) == [
        "command line --seed: seed: expected integer, found 'x'",
        "command line --encode.strid: unknown setting 'encode.strid'; did you mean 'encode.stride'?",
        "c.yaml:2: unknown setting 'trian'; did you mean 'train'?",
    ]
    assert [path.name for path in folder.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize("command", ["evaluate model data.csv --out out", "predict model data.csv --out out"])
def test_commands_on_files_refuse_settings_of_training(run, folder, command):
    assert refused(run(*command.split(), "--train.epochs", "3")) == [
        "command line --train.epochs: unknown setting 'train.epochs'; there are task, data, engine"
    ]
    assert [path.name for path in folder.iterdir()] == []


@pytest.mark.parametrize("command", ["train", "prepare"])
def test_a_config_without_data_is_refused_and_leaves_nothing(run, folder, command):
    (line,) = refused(run(command, "--task", "ner", "--output_dir", "run"))
    assert "data.train" in line
    assert [path.name for path in folder.iterdir()] == []


def test_a_user_error_of_the_process_has_no_traceback(tunny):
    done = tunny("config", "nowhere.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: nowhere.yaml: no such config file\n")


# -- what is our fault, and what is nobody's ---------------------------------------------------------------------------

BROKEN = """
from tunny import cli
@cli.app.command()
def broken():
    {}
cli.main(["broken"])
"""


def start(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BROKEN.format(code)], capture_output=True, text=True, check=False)


def test_an_unforeseen_error_exits_1_with_a_traceback_and_a_request():
    done = start("raise ZeroDivisionError('of ours')")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback (most recent call last)" in done.stderr
    assert "ZeroDivisionError: of ours" in done.stderr
    assert done.stderr.endswith("error: this is a fault in Tunny; please report it with the lines above and `tunny env`\n")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_with_its_code_and_no_traceback(name, code):
    done = start(
        f"import os, signal; from tunny.core.signals import watch_signals; context = watch_signals(); context.__enter__(); "
        f"os.kill(os.getpid(), signal.{name})"
    )
    assert (done.returncode, done.stderr) == (code, f"stopped by {name}\n")


def test_an_interrupt_before_any_work_exits_130_with_no_traceback():
    done = start("raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("arguments", [("config",), ("config", "--task", "ner"), ("--version",)])
def test_a_reader_that_has_seen_enough_is_no_error(arguments):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "tunny", *arguments], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


# -- config and env ----------------------------------------------------------------------------------------------------


def test_config_lists_every_setting(run):
    code, out, err = run("config")
    assert (code, err) == (0, "")
    assert re.findall(r"^--([a-z_.]+)  \(.+, default .+\)$", out, re.MULTILINE) == [name for name, *_ in settings_table()]


def test_config_with_a_file_prints_the_resolved_one(run):
    Path("c.yaml").write_text("task: ner\ntrain: {epochs: 7}\n")
    code, out, err = run("config", "c.yaml", "--train.batch_size", "4")
    assert (code, err) == (0, "")
    found = yaml.safe_load(out)
    assert (found["task"]["kind"], found["train"]["epochs"], found["train"]["batch_size"]) == ("ner", 7, 4)


def test_what_config_prints_is_a_config(run):
    Path("c.yaml").write_text("task: classify\nname: ${USER_NAME}\nmodel: {revision: '1.10'}\n")
    Path(".env").write_text("USER_NAME=Ann\n")
    first = run("config", "c.yaml")[1]
    Path("again.yaml").write_text(first)
    assert run("config", "again.yaml") == (0, first, "")
    assert "${USER_NAME}" in first


def test_config_path_and_params_work_as_flags(run):
    Path("c.yaml").write_text("task: ner\n")
    code, out, _ = run("config", "--config_path", "c.yaml", "--params", '{"--train.epochs": 9}', "--train.epochs=8")
    assert code == 0
    assert yaml.safe_load(out)["train"]["epochs"] == 9


def test_config_prints_the_schema(run):
    code, out, err = run("config", "--schema")
    assert (code, err) == (0, "")
    assert json.loads(out)["properties"]["seed"]["type"] == "integer"


def test_config_prints_the_page_of_settings(run):
    assert run("config", "--markdown") == (0, settings_markdown(), "")


def test_env_prints_versions_for_a_bug_report(run):
    import torch

    code, out, err = run("env")
    assert (code, err) == (0, "")
    assert out.startswith(f"tunny {__version__}\n")
    assert f"torch: {torch.__version__}\n" in out
