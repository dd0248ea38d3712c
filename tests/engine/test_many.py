"""Backends of several processes: validation that they share, parameters that nothing needs."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.multiprocessing import ProcessRaisedException
from transformers import AutoModelForTokenClassification, BertConfig, LongformerConfig

import tunny
from tests.ranks import on_ranks
from tests.trained import ner_sentences, rows, trained
from tunny.data.audit import Audit
from tunny.data.example import Example, Span
from tunny.engine.choose import choose_backend
from tunny.engine.group import World
from tunny.engine.many import DataParallel
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


def test_a_world_of_one_needs_no_group():
    backend = DataParallel(torch.device("cpu"), World())
    assert (backend.sum([1.0, 2.5]), backend.gather("a"), list(backend.map(str, range(3)))) == ([1.0, 2.5], ["a"], ["0", "1", "2"])


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


def learnt(strategy, idle):
    """Take steps of two micro-batches, of which each rank has its share; return the weights and how many have no gradient."""
    backend = choose_backend(EngineSettings(strategy=strategy, device="cpu"))
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}
    made = LongformerConfig(**sizes, attention_window=[4, 4], max_position_embeddings=40, pad_token_id=0) if idle else BertConfig(**sizes)
    model = backend.wrap(AutoModelForTokenClassification.from_config(made))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(3):
        optimizer.zero_grad(set_to_none=True)
        for number in range(backend.rank, 4, backend.world_size):
            torch.manual_seed(4 * step + number)
            ids = torch.arange(16).reshape(2, 8) + 3 * number
            last = number + backend.world_size >= 4
            with nullcontext() if last else backend.hold_sync(model):
                model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.square().sum().backward()
        backend.clip(optimizer, 1.0)
        optimizer.step()
    idle = [name for name, parameter in backend.bare(model).named_parameters() if parameter.grad is None]
    return {name: backend.whole(value).clone() for name, value in backend.bare(model).state_dict().items()}, idle


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("idle", [True, False], ids=["longformer", "bert"])
def test_parameters_that_no_answer_needs_are_left_alone(strategy, idle):
    weights, unused = learnt("auto", idle)
    assert len(unused) == (12 if idle else 0)  # query, key and value of the global attention of two layers
    for found, none in on_ranks(2, learnt, strategy, idle):
        assert none == unused
        assert all(torch.allclose(value, weights[name], atol=1e-5) for name, value in found.items())


class Heads(nn.Module):
    """One of two heads answers, or both answer and the loss asks one."""

    def __init__(self, both):
        super().__init__()
        self.body, self.both = nn.Linear(3, 4), both
        self.first, self.second = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, inputs, at):
        heads = [self.first, self.second] if self.both else [(self.first, self.second)[at]]
        return [head(self.body(inputs).tanh()) for head in heads]


def of_heads(strategy, both):
    """Take steps of four micro-batches, which ask one head or the other; the third step asks the first head alone."""
    backend = choose_backend(EngineSettings(strategy=strategy, device="cpu"))
    torch.manual_seed(1)
    model = backend.wrap(Heads(both))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    for step in range(5):
        optimizer.zero_grad(set_to_none=True)
        for number in range(backend.rank, 4, backend.world_size):
            head = 0 if step == 2 else number * (step + 1) // 2 % 2
            with nullcontext() if number + backend.world_size >= 4 else backend.hold_sync(model):
                inputs = torch.arange(6.0).reshape(2, 3) / (number + 1) - step
                model(inputs, head)[head if both else 0].square().sum().backward()
        backend.clip(optimizer, 1.0)
        optimizer.step()
    return {name: backend.whole(value).clone() for name, value in backend.bare(model).state_dict().items()}


@pytest.mark.parametrize("both", [False, True])
def test_heads_that_some_batches_need_learn_as_in_one_process(both):
    weights = of_heads("auto", both)
    for found in on_ranks(2, of_heads, "ddp", both):
        assert all(torch.allclose(value, weights[name], atol=1e-6) for name, value in found.items())


def test_ranks_that_need_other_parameters_are_refused_where_each_holds_a_part():
    with pytest.raises(
        ProcessRaisedException, match=r"TrainingFailed: engine\.strategy: fsdp is for models of which all ranks need the same"
    ):
        on_ranks(2, of_heads, "fsdp", False)
