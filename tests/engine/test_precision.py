from pathlib import Path

import pytest
import torch

from tunny.core.errors import ConfigError
from tunny.engine import precision
from tunny.engine.precision import choose_precision, cpu_flags

CPU = torch.device("cpu")


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Let the system report a processor with some flags."""

    before = torch.get_float32_matmul_precision()

    def report(text):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")

    yield report
    torch.set_float32_matmul_precision(before)


def test_flags_are_the_words_of_the_first_processor(processor):
    processor("processor\t: 0\nflags\t\t: fpu sse2 avx512_bf16\nbugs\t: none\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert cpu_flags() == {"fpu", "sse2", "avx512_bf16"}


def test_a_system_that_reports_no_flags_has_none(processor, monkeypatch):
    processor("processor\t: 0\nmodel name\t: something\n")
    assert cpu_flags() == set()
    monkeypatch.setattr(precision, "CPU_INFO", Path("no/such/file"))
    assert cpu_flags() == set()


@pytest.mark.parametrize(
    ("flags", "name", "reason"),
    [
        ("fpu avx512_bf16", "bf16", "the processor has avx512_bf16"),
        ("amx_bf16 avx512f", "bf16", "the processor has amx_bf16"),
        ("fpu avx2 avx512f", "fp32", "neither avx512_bf16 nor amx_bf16"),
    ],
)
def test_auto_goes_by_what_the_processor_reports_and_says_so(processor, capsys, flags, name, reason):
    processor(f"flags\t\t: {flags}\n")
    assert choose_precision("auto", CPU).name == name
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "trained", "line"),
    [
        ("auto", "fp32", "precision: fp32 (as in training)"),
        ("auto", "fp16", "precision: fp32 (training used fp16, which is for GPUs)"),
        ("bf16", "fp32", "precision: bf16 (engine.precision)"),
    ],
)
def test_a_finished_model_answers_as_it_was_trained_unless_told_otherwise(capsys, wanted, trained, line):
    choose_precision(wanted, CPU, trained=trained)
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "vendor", "name", "way"),
    [
        ("avx2 avx512f", "AuthenticAMD", "oneDNN", "medium"),
        ("avx2 avx512f", "GenuineIntel", "MKL", "highest"),
        ("avx2 avx512f amx_tile amx_bf16", "AuthenticAMD", "MKL", "highest"),
        ("avx2", "AuthenticAMD", "MKL", "highest"),
    ],
)
def test_fp32_products_go_to_the_library_that_is_fast_here(processor, capsys, flags, vendor, name, way):
    processor(f"vendor_id\t: {vendor}\nflags\t\t: {flags}\n")
    choose_precision("fp32", CPU)
    assert f"fp32 products: {name} (" in capsys.readouterr().err
    assert torch.get_float32_matmul_precision() == way


@pytest.mark.skipif("amx_tile" in cpu_flags(), reason="with AMX this way computes in bf16, and is not taken")
def test_products_by_onednn_are_true_fp32(processor):
    left, right = torch.randn(64, 256), torch.randn(256, 64)
    exact = left.double() @ right.double()
    processor("vendor_id\t: AuthenticAMD\nflags\t\t: avx512f\n")
    choose_precision("fp32", CPU)
    assert float(((left @ right) - exact).abs().max()) < 1e-4  # bf16 would be off by about 0.1


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(wanted):
    assert choose_precision(wanted, CPU).name == wanted


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(ConfigError, match="fp16 is for GPUs"):
        choose_precision("fp16", CPU)


def test_matrix_products_have_the_type_of_the_precision():
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with choose_precision(name, CPU).autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_only_fp16_needs_scaling():
    assert not choose_precision("bf16", CPU).scaled
    assert precision.Precision("fp16", "cuda").scaled


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_on_a_gpu_takes_bf16_where_it_has_units_for_it():
    expected = "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp32"
    assert choose_precision("auto", torch.device("cuda")).name == expected
