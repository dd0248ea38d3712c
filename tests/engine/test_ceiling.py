import time

import torch

from tunny.engine import ceiling
from tunny.engine.ceiling import Ceiling, measure_ceiling
from tunny.engine.precision import Precision


def test_the_ceiling_is_not_below_a_product_measured_here():
    left, right = torch.rand(672, 384), torch.rand(1536, 384)
    started = time.perf_counter()
    torch.nn.functional.linear(left, right)
    once = 2 * 672 * 384 * 1536 / (time.perf_counter() - started)
    assert measure_ceiling(torch.device("cpu"), Precision("fp32", "cpu")) >= 0.5 * once


def test_the_highest_ceiling_met_counts_and_is_measured_once_in_a_while(monkeypatch):
    found = iter([2.0, 5.0, 3.0])
    monkeypatch.setattr(ceiling, "measure_ceiling", lambda *_: next(found))
    one = Ceiling(torch.device("cpu"), Precision("fp32", "cpu"))
    assert [one.flops(), one.flops()] == [2.0, 2.0]
    monkeypatch.setattr(ceiling, "AGAIN", 0.0)
    one._next = 0.0
    assert [one.flops(), one.flops()] == [5.0, 5.0]
