"""The backend over Accelerate, on CPUs."""

import subprocess
import sys

import pytest
import torch

from tests.engine.test_many import learnt
from tests.ranks import on_ranks
from tunny.core.errors import ConfigError
from tunny.engine.backend import choose_backend
from tunny.engine.settings import EngineSettings


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_training_over_accelerate_learns_what_one_process_does(processes):
    weights, _ = learnt("auto", False)
    for found, _ in on_ranks(processes, learnt, "accelerate", False):
        assert all(torch.allclose(value, weights[name], atol=1e-5) for name, value in found.items())


def shared():
    backend = choose_backend(EngineSettings(strategy="accelerate", device="cpu"))
    return backend.sum([1.0, backend.rank]), backend.gather(backend.rank), list(backend.map(str, range(5)))


@pytest.mark.slow
def test_numbers_objects_and_work_are_shared():
    assert on_ranks(2, shared) == [([2.0, 1.0], [0, 1], ["0", "1", "2", "3", "4"])] * 2


@pytest.mark.parametrize("name", ["ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"])
def test_what_would_take_the_step_over_is_refused(name, monkeypatch):
    monkeypatch.setenv(name, "true")
    with pytest.raises(ConfigError, match=f"which {name} asks for"):
        choose_backend(EngineSettings(strategy="accelerate"))


def test_accelerate_chooses_the_device():
    with pytest.raises(ConfigError, match="expected auto or cpu, found 'cuda:1'"):
        choose_backend(EngineSettings(strategy="accelerate", device="cuda:1"))


def test_without_the_package_it_is_named():
    code = """
import sys
sys.modules["accelerate"] = None
from tunny.engine.backend import choose_backend
from tunny.engine.settings import EngineSettings
choose_backend(EngineSettings(strategy="accelerate"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith("needs the package accelerate. pip install tunny[accelerate]")
