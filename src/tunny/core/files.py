"""Files on disk: folders that appear whole or not at all, digests, the lock of a run folder, free space.

A folder or file is written under a temporary name beside its target, synced, and renamed; a process killed at any moment leaves
either nothing or the whole (a folder that replaces another may be missing for an instant). It costs one fsync a file.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunny.core.errors import RunError

TEMPORARY = ".tunny-tmp-"  # prefix of folders and files that are not finished


def digest_bytes(*parts: bytes | str) -> str:
    """Return the hex SHA-256 of the parts, each preceded by its length so that no two lists of parts collide."""
    sha = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        sha.update(len(raw).to_bytes(8, "little"))
        sha.update(raw)
    return sha.hexdigest()


def digest_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dump_json(value: Any) -> str:
    """Return the one JSON form used for every file that Tunny writes."""
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a UTF-8 JSON file."""
    return json.loads(path.read_text("utf-8"))


def _umask() -> int:
    """Return the mask for new files, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `target` when the block ends without an error; else nothing stays, new folders included."""
    if target.is_dir():
        raise RunError(f"{target}: cannot be written: it is a folder. Name a file.")
    if target.exists() and not target.is_file():  # a device or a pipe is written into, not replaced
        yield target
        return
    target = target.resolve()  # of a link, what it leads to
    temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        if missing:
            target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise no_space(error, target) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
            for folder in missing:
                folder.rmdir()


def link(source: Path, target: Path) -> None:
    """Give a file, or all files of a folder, another name, or copy them where the file system has no links."""
    if source.is_dir():
        target.mkdir()
        for path in source.iterdir():
            link(path, target / path.name)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(text, "utf-8", newline="")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, dump_json(value))


@contextlib.contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `target` when the block ends without an error.

    A target that is there already is kept (the new folder is thrown away) unless `replace` is set. Raises RunError
    where the disk is full or the place cannot be written.
    """
    temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in sorted(temporary.rglob("*")):
            if path.is_file():
                path.chmod(0o666 & ~_umask())  # safetensors makes files that only their owner can read
            _sync(path)
        _sync(temporary)
        if replace and target.exists():
            old = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
            os.rename(target, old)
            os.rename(temporary, target)
            shutil.rmtree(old)
        else:
            try:
                os.rename(temporary, target)
            except OSError:
                if not target.is_dir():
                    raise
        _sync(target.parent)
    except OSError as error:
        raise no_space(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left under temporary names in `folder`."""
    for path in folder.glob(f"{TEMPORARY}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def no_space(error: OSError, path: Path) -> RunError:
    """Turn an error of the operating system into one that names the place and the way out."""
    what = error.strerror or str(error)
    return RunError(f"{path}: cannot be written: {what}. Free some space or choose another place.")


def require_free_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise RunError unless the disk under `folder` has `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"{folder}: {purpose} needs about {needed / 2**20:,.0f} MiB, but only {free / 2**20:,.0f} MiB are free. "
            "Free some space, choose another output_dir, or lower checkpoint.keep_last."
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder; raise RunError naming the holder where another process has it.

    The operating system drops the lock when its process ends, however it ends. Folders made for the lock are removed again
    where nothing else came into them.
    """
    missing = [path for path in [folder, *folder.parents] if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise no_space(error, folder) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RunError(f"{folder}: is in use by {holder}. Wait for it to end or choose another output_dir.") from error
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        except OSError as error:
            raise no_space(error, folder) from error
        try:
            yield
        finally:
            if [path.name for path in folder.iterdir()] == [".lock"]:
                (folder / ".lock").unlink()
                for path in missing:
                    with contextlib.suppress(OSError):
                        path.rmdir()
