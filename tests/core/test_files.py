"""Files: whole or not there at all, whatever happens; digests; the lock of a folder; free space."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.conftest import disk_full_at
from tunny.core.errors import RunError
from tunny.core.files import (
    TEMPORARY,
    digest_bytes,
    digest_file,
    locked,
    new_folder,
    read_json,
    remove_unfinished,
    require_free_space,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail(target: Path, error: type[BaseException], *, replace: bool = False) -> None:
    with new_folder(target, replace=replace) as folder:
        (folder / "a").write_text("new")
        raise error("x")


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    """Start a process that works in `folder` and says "ready", and wait for that."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from pathlib import Path\nfrom tunny.core.files import *\nimport time\n" + code],
        cwd=folder, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_new_folder_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "model"
    with new_folder(target) as folder:
        (folder / "a").write_text("1")
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text("2")
        assert not target.exists()
    assert (target / "a").read_text() + (target / "sub" / "b").read_text() == "12"
    assert names(tmp_path) == ["model"]


def test_folders_around_it_are_made(tmp_path):
    with new_folder(tmp_path / "a" / "b" / "c") as folder:
        (folder / "x").write_text("1")
    assert (tmp_path / "a" / "b" / "c" / "x").exists()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_inside_leaves_nothing(tmp_path, error):
    with pytest.raises(error):
        fail(tmp_path / "model", error)
    assert names(tmp_path) == []


def test_an_error_inside_leaves_the_folder_that_was_to_be_replaced(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "a").write_text("old")
    with pytest.raises(ValueError, match="x"):
        fail(target, ValueError, replace=True)
    assert (target / "a").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_killed_process_leaves_no_folder_and_what_it_left_is_removed(tmp_path):
    code = "with new_folder(Path('model')) as f:\n (f / 'a').write_text('1')\n print('ready', flush=True)\n time.sleep(60)"
    kill(start(code, tmp_path))
    left = names(tmp_path)
    assert len(left) == 1
    assert left[0].startswith(TEMPORARY)
    remove_unfinished(tmp_path)
    assert names(tmp_path) == []


def test_a_process_killed_while_replacing_leaves_the_old_folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("old")
    code = "with new_folder(Path('model'), replace=True) as f:\n (f / 'a').write_text('new')\n print('ready', flush=True)\n time.sleep(60)"
    kill(start(code, tmp_path))
    assert (tmp_path / "model" / "a").read_text() == "old"


def test_a_folder_that_is_there_already_is_kept(tmp_path):
    for text in ("first", "second"):
        with new_folder(tmp_path / "cache") as folder:
            (folder / "a").write_text(text)
    assert (tmp_path / "cache" / "a").read_text() == "first"
    assert names(tmp_path) == ["cache"]


def test_replace_puts_the_whole_new_folder_in_its_place(tmp_path):
    for name in ("old", "new"):
        with new_folder(tmp_path / "model", replace=True) as folder:
            (folder / name).write_text("1")
    assert names(tmp_path / "model") == ["new"]
    assert names(tmp_path) == ["model"]


def test_a_full_disk_inside_is_named_and_leaves_nothing(tmp_path):
    full = pytest.raises(RunError, match="model: cannot be written: File too large")
    with disk_full_at(1000), full, new_folder(tmp_path / "model") as folder:
        (folder / "weights").write_bytes(bytes(5000))
    assert names(tmp_path) == []


def test_a_file_in_the_place_of_the_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "model").write_text("a file")
    with pytest.raises(RunError, match="model: cannot be written"), new_folder(tmp_path / "model"):
        pass
    assert (tmp_path / "model").read_text() == "a file"


def test_removing_what_is_unfinished_touches_nothing_else(tmp_path):
    (tmp_path / f"{TEMPORARY}file").write_text("1")
    (tmp_path / "mine").write_text("1")
    remove_unfinished(tmp_path)
    assert names(tmp_path) == ["mine"]


# -- files -------------------------------------------------------------------------------------------------------------


def test_json_is_written_as_readable_utf8(tmp_path):
    write_json(tmp_path / "m.json", {"place": "Göteborg", "f1": 0.5})
    assert (tmp_path / "m.json").read_bytes() == '{\n  "place": "Göteborg",\n  "f1": 0.5\n}\n'.encode()
    assert read_json(tmp_path / "m.json") == {"place": "Göteborg", "f1": 0.5}


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path, value):
    write_json(tmp_path / "m.json", 1)
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "m.json", {"loss": value})
    assert (tmp_path / "m.json").read_text() == "1\n"
    assert names(tmp_path) == ["m.json"]


def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    write_json(tmp_path / "m.json", 1)
    with (
        disk_full_at(100),
        pytest.raises(RunError, match=r"m\.json: cannot be written: File too large\. Free some space or choose another place\."),
    ):
        write_json(tmp_path / "m.json", list(range(1000)))
    assert (tmp_path / "m.json").read_text() == "1\n"
    assert names(tmp_path) == ["m.json"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written: Not a directory"):
        write_text(tmp_path / "file" / "m.json", "x")


def test_line_ends_are_written_as_given(tmp_path):
    write_text(tmp_path / "t", "a\r\nb\n")
    assert (tmp_path / "t").read_bytes() == b"a\r\nb\n"


def test_a_reader_never_sees_half_a_file(tmp_path):
    write_json(tmp_path / "m.json", [])
    code = "print('ready', flush=True)\nwhile True: write_json(Path('m.json'), [0] * 50_000); write_json(Path('m.json'), [])"
    process = start(code, tmp_path)
    try:
        assert {len(json.loads((tmp_path / "m.json").read_text())) for _ in range(300)} <= {0, 50_000}
    finally:
        kill(process)


# -- digests -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4))
def test_two_lists_of_parts_have_one_digest_only_if_they_are_equal(first, second):
    assert (digest_bytes(*first) == digest_bytes(*second)) == (first == second)


def test_moving_a_byte_from_one_part_to_the_next_changes_the_digest():
    assert len({digest_bytes(*parts) for parts in [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc")]}) == 5


def test_text_and_its_utf8_bytes_are_one():
    assert digest_bytes("Göteborg") == digest_bytes("Göteborg".encode())


def test_text_with_a_lone_surrogate_has_a_digest():
    assert digest_bytes("\ud800") != digest_bytes("\ud801")


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_the_digest_of_a_file_is_its_sha256(tmp_path, size):
    (tmp_path / "f").write_bytes(b"x" * size)
    assert digest_file(tmp_path / "f") == hashlib.sha256(b"x" * size).hexdigest()


# -- space and locks ---------------------------------------------------------------------------------------------------


def test_too_little_space_is_named_with_what_is_needed_and_what_to_do(tmp_path):
    with pytest.raises(RunError) as caught:
        require_free_space(tmp_path, 2**60, "training")
    assert str(caught.value).startswith(f"{tmp_path}: training needs about 1,099,511,627,776 MiB, but only ")
    assert "lower checkpoint.keep_last" in str(caught.value)


def test_enough_space_says_nothing(tmp_path):
    require_free_space(tmp_path, 1, "training")


HOLD = "with locked(Path('run')):\n Path('run/log').write_text('1')\n print('ready', flush=True)\n time.sleep(60)"


def test_a_second_process_is_refused_and_told_who_is_first(tmp_path):
    process = start(HOLD, tmp_path)
    try:
        with pytest.raises(RunError, match=rf"run: is in use by process {process.pid} on ") as caught, locked(tmp_path / "run"):
            pass
        assert "choose another output_dir" in str(caught.value)
        assert (tmp_path / "run" / "log").exists()
    finally:
        kill(process)


def test_the_lock_ends_with_its_process_even_when_that_is_killed(tmp_path):
    kill(start(HOLD, tmp_path))
    with locked(tmp_path / "run"):
        assert f"process {os.getpid()}" in (tmp_path / "run" / ".lock").read_text()


def test_a_lock_that_came_to_nothing_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="x"), locked(tmp_path / "runs" / "mine"):
        raise ValueError("x")
    assert names(tmp_path) == []


def test_a_lock_that_came_to_nothing_leaves_a_folder_that_was_there(tmp_path):
    (tmp_path / "runs").mkdir()
    with locked(tmp_path / "runs" / "mine"):
        pass
    assert names(tmp_path) == ["runs"]


def test_a_folder_with_something_in_it_stays(tmp_path):
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "log").write_text("1")
    assert (tmp_path / "run" / "log").exists()


def test_a_file_in_the_place_of_the_run_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="run: cannot be written"), locked(tmp_path / "run"):
        pass


def test_files_of_a_new_folder_are_readable_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        with new_folder(tmp_path / "model") as folder:
            save_file({"a": np.zeros(1)}, folder / "model.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "model" / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_link_is_followed_and_a_pipe_is_written_into(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    write_text(Path("/dev/null"), "gone")
    assert not Path("/dev/null").is_file()
