"""Backends of several processes: validation that they share."""

from dataclasses import replace

import pytest

import tunny
from tests.ranks import on_ranks
from tests.trained import ner_sentences, rows, trained
from tunny.data.audit import Audit
from tunny.data.example import Example, Span
from tunny.engine.backend import choose_backend
from tunny.engine.settings import EngineSettings
from tunny.evaluation.predict import encode_chunks, predict
from tunny.evaluation.score import score

pytestmark = pytest.mark.slow


def examples(kind, number):
    """Return labelled examples; of sentences every third one is a document of many windows."""
    if kind == "classify":
        table = rows(kind)[1]
        return [
            Example(str(at), " ".join([text] * (at % 40 + 1)), labels=(label,)) for at in range(number) for text, label in [table[at % 48]]
        ]
    made, sentences = [], ner_sentences()
    for at in range(number):
        words = sentences[at % 60] * (100 if at % 3 == 2 else 1)
        ends = [0]
        for word, _ in words:
            ends.append(ends[-1] + len(word) + 1)
        spans = tuple(
            Span(start, start + len(word), tag[2:]) for start, (word, tag) in zip(ends, words, strict=False) if tag.startswith("B-")
        )
        made.append(Example(str(at), " ".join(word for word, _ in words), spans=spans))
    return made


def scored(strategy, cases):
    """Return of each case the metrics and the answers of a trained model, as validation finds them, and the forward passes of this rank."""
    backend = choose_backend(EngineSettings(strategy=strategy, device="cpu"))
    found = []
    for kind, folder, number in cases:
        own = tunny.load(folder, engine=EngineSettings(strategy=strategy, device="cpu"))
        model = replace(own.model, module=backend.wrap(own.model.module))
        passes = []
        model.module.register_forward_pre_hook(lambda *_, passes=passes: passes.append(1))
        chunks = list(encode_chunks(examples(kind, number), own.encoder, own.task, Audit()))
        scores = score(model, own.task, chunks, spread=backend.map)
        answers = [(example.id, answer.prediction) for example, answer in predict(model, own.task, chunks, backend.map)]
        found.append((scores.metrics, answers, len(passes) / 2))
    return found


CASES = [("ner", 0), ("ner", 1), ("ner", 59), ("classify", 1), ("classify", 2100)]  # in two chunks, the last


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_validation_that_processes_share_finds_what_one_finds(strategy):
    cases = [(kind, trained(kind).model, number) for kind, number in CASES]
    alone, *ranks = [scored("auto", cases), *on_ranks(2, scored, strategy, cases)]
    for (kind, number), one, *shared in zip(CASES, alone, *ranks, strict=True):
        assert [name for name, _ in one[1]] == [str(at) for at in range(number)]
        assert [two[:2] for two in shared] == [one[:2]] * 2, (kind, number)  # to the bit
    passes = [[one[2] for one in found] for found in (alone, *ranks)]
    assert passes[1] == passes[2]
    over = [2 * half - whole for whole, half in zip(*passes[:2], strict=True)]
    assert over[1] == over[3] == 1  # one batch: both ranks go through the model
    assert all(0 <= more <= 2 for more in over)
    assert passes[0][2] > 5
