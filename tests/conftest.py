"""What tests share: their own cache, small real models and tokenizers, the program as a user starts it."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: tiny models are fastest so, and tests run beside each other
os.environ["HF_HUB_OFFLINE"] = "1"

import contextlib
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import save_model

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Each test has a cache of its own, and no settings from the environment."""
    for name in list(os.environ):
        if name.startswith("TUNNY__"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TUNNY_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    """A BERT of 2 layers, 32 wide, random, with an uncased WordPiece tokenizer."""
    return save_model("bert", tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real datasets for development; tests that need them are skipped where they are absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the datasets for development (../shared/data) are not here")
    return folder


@contextlib.contextmanager
def disk_full_at(size: int):
    """Let no file grow past some bytes: the system then refuses a write in its middle, as a full disk does.

    Only inside the block: pytest's own output may go to a file, and is written while fixtures still hold.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def tunny(tmp_path):
    """Run the program in an empty folder: `tunny("train", "config.yaml")` gives code, stdout and stderr."""

    def start(*arguments: object, cwd: Path = tmp_path, stdin: str | None = None, env: dict[str, str] | None = None):
        command = [sys.executable, "-m", "tunny", *map(str, arguments)]
        return subprocess.run(
            command, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=600, env={**os.environ, **(env or {})}, check=False
        )

    return start
