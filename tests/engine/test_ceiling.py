import time

import torch

from tunny.engine.ceiling import measure_ceiling
from tunny.engine.precision import Precision


def test_the_ceiling_is_not_below_a_product_measured_here():
    left, right = torch.rand(672, 384), torch.rand(1536, 384)
    started = time.perf_counter()
    torch.nn.functional.linear(left, right)
    once = 2 * 672 * 384 * 1536 / (time.perf_counter() - started)
    assert measure_ceiling(torch.device("cpu"), Precision("fp32", "cpu")) >= 0.5 * once
