import ctypes
import subprocess
import sys

import pytest
import torch

from tunny.core.errors import ConfigError
from tunny.engine.device import choose_device, gpu_number, num_gpus
from tunny.engine.settings import EngineSettings


@pytest.mark.parametrize(
    ("wanted", "gpus", "expected"),
    [("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_is_what_the_settings_ask_for_and_auto_the_gpu_that_is_there(wanted, gpus, expected):
    assert choose_device(EngineSettings(device=wanted), gpus, "the driver") == expected


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 0), ("cuda:1", 1)])
def test_a_gpu_that_is_not_there_is_refused_and_it_is_said_who_does_not_see_it(device, gpus):
    with pytest.raises(ConfigError, match=f"{device} was asked for, but the driver sees {gpus} GPUs"):
        choose_device(EngineSettings(device=device), gpus, "the driver")


def test_the_number_of_a_gpu_is_the_first_unless_it_is_named():
    assert [gpu_number(device) for device in ("cuda", "cuda:0", "cuda:3")] == [0, 0, 3]


def has_driver():
    try:
        return bool(ctypes.CDLL("libcuda.so.1"))
    except OSError:
        return False


@pytest.mark.skipif(has_driver(), reason="needs a machine without a GPU's driver")
def test_without_a_driver_there_is_no_gpu():
    assert num_gpus() == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("visible", [None, ""])
def test_the_driver_shows_the_gpus_that_torch_sees(visible):
    code = "import os, torch\nfrom tunny.engine.device import num_gpus\nprint(num_gpus(), torch.cuda.device_count())"
    prefix = "" if visible is None else f"import os; os.environ['CUDA_VISIBLE_DEVICES'] = {visible!r}\n"
    done = subprocess.run([sys.executable, "-c", prefix + code], capture_output=True, text=True, check=True)
    ours, torchs = done.stdout.split()
    assert ours == torchs
