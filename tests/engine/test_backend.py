import math

import pytest
import torch
from torch import nn

from tunny.core.errors import ConfigError
from tunny.engine.backend import SingleProcess, is_out_of_memory
from tunny.engine.choose import choose_backend
from tunny.engine.settings import EngineSettings

CPU = SingleProcess(torch.device("cpu"))
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")


def test_one_process_is_a_world_of_one():
    assert (CPU.rank, CPU.world_size, CPU.sum([2.5])) == (0, 1, [2.5])


@no_gpu
def test_auto_takes_the_cpu_where_there_is_no_gpu_and_says_so(capsys):
    assert choose_backend(EngineSettings()).device == torch.device("cpu")
    assert "device: cpu (no GPU is there" in capsys.readouterr().err


@no_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_refused(device):
    with pytest.raises(ConfigError, match=f"{device} was asked for, but torch sees 0 GPUs"):
        choose_backend(EngineSettings(device=device))


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:one", ""])
def test_a_device_that_is_none_is_refused(device):
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda or cuda:N"):
        choose_backend(EngineSettings(device=device))


@pytest.mark.parametrize(("limit", "expected"), [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0]), (math.inf, [3.0, 4.0])])
def test_clipping_scales_to_the_norm_and_gives_the_norm_before(limit, expected):
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert float(CPU.clip(torch.optim.SGD([parameter], lr=1.0), limit)) == 5.0
    assert parameter.grad.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("limit", [0.5, 1.0, 100.0, math.inf])
def test_the_fused_optimizer_clips_as_clipping_beforehand_does(limit):
    torch.manual_seed(1)
    start, gradients = [torch.randn(5, 3), torch.randn(7)], [[torch.randn(5, 3), torch.randn(7)] for _ in range(4)]
    sides = [[nn.Parameter(value.clone()) for value in start] for _ in range(2)]
    ours, plain = (torch.optim.AdamW(side, lr=0.1, weight_decay=0.1, fused=fused) for side, fused in zip(sides, (True, False), strict=True))
    for step in gradients:
        for side in sides:
            for parameter, gradient in zip(side, step, strict=True):
                parameter.grad = gradient.clone()
        norms = float(CPU.clip(ours, limit)), float(torch.nn.utils.clip_grad_norm_(sides[1], limit))
        assert norms[0] == pytest.approx(norms[1], rel=1e-6)
        ours.step()
        plain.step()
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*sides, strict=True))


def test_memory_that_cannot_be_had_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())


def test_another_error_is_not_taken_for_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2) @ torch.ones(3)
    assert not is_out_of_memory(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_taken_where_there_is_one():
    assert choose_backend(EngineSettings()).device.type == "cuda"
