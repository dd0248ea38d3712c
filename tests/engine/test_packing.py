import pytest
import torch
import transformers
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from tunny.engine.packing import FAMILIES, Packing, Plan, can_pack, kernel_fault, padded, ragged
from tunny.engine.precision import Precision

CPU, META = torch.device("cpu"), torch.device("meta")
LENGTHS = (5, 1, 40, 17, 33)  # the third fills the batch
LOCAL = 8  # ModernBERT's local attention: 4 tokens to each side
HEADS = {"token": transformers.AutoModelForTokenClassification, "sequence": transformers.AutoModelForSequenceClassification}

every_family = pytest.mark.parametrize("family", FAMILIES)
every_head = pytest.mark.parametrize("head", HEADS)


def make(family="bert", head="token", dropout=0.0, attention_dropout=None):
    """A random model of 3 layers with weights large enough for attention to matter."""
    common = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    common |= {"max_position_embeddings": 50, "pad_token_id": 0, "num_labels": 3}
    attention = dropout if attention_dropout is None else attention_dropout
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": attention}
    if family == "modernbert":
        local = {"local_attention": LOCAL, "global_attn_every_n_layers": 3, "classifier_pooling": "mean"}
        special = dict.fromkeys(("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id"), 2)
        rates = {"attention_dropout": attention, "mlp_dropout": dropout, "embedding_dropout": dropout, **local, **special}
    elif family == "distilbert":
        rates = {"dropout": dropout, "attention_dropout": attention, "seq_classif_dropout": dropout}
    elif family == "electra":
        rates["embedding_size"] = 16
    torch.manual_seed(0)
    model = HEADS[head].from_config(transformers.AutoConfig.for_model(family, **common, **rates))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def batch(lengths=LENGTHS, types=False, seed=1):
    draw = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    made = {"input_ids": torch.randint(4, 99, mask.shape, generator=draw) * mask, "attention_mask": mask}
    return {**made, "token_type_ids": torch.randint(0, 2, mask.shape, generator=draw) * mask} if types else made


def loss_of(model, inputs):
    """A sum of cross-entropies over real tokens, or over rows."""
    logits = model(**inputs).logits
    labels = torch.arange(logits.shape[:-1].numel(), device=logits.device).view(logits.shape[:-1]) % 3
    if logits.dim() == 3:
        labels = torch.where(inputs["attention_mask"] > 0, labels, -100)
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum")


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max().clamp(min=1))), name


def shapes_in_layers(model):
    """Collect the first two sizes of what each linear module of the layers gives."""
    seen = set()
    layers = next(part for part in model.base_model.modules() if isinstance(part, torch.nn.ModuleList))
    for part in layers.modules():
        if isinstance(part, torch.nn.Linear):
            part.register_forward_hook(lambda _, __, output: seen.add(tuple(output.shape[:2])))
    return seen


@every_head
@every_family
def test_a_packed_batch_has_the_loss_and_gradients_of_a_padded_one(family, head):
    model = make(family, head)
    inputs = batch(types=getattr(model.config, "type_vocab_size", 1) > 1)
    expected_loss = loss_of(model, inputs)
    expected = gradients(model, expected_loss)
    packing, seen = Packing(model), shapes_in_layers(model)
    with packing.of(LENGTHS):
        loss = loss_of(model, inputs)
    assert seen == {(1, sum(LENGTHS))}
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    assert_same(gradients(model, loss), expected)


@every_family
def test_outside_the_context_the_model_is_as_it_was(family, tmp_path):
    model = make(family).eval()
    inputs = batch()
    model.save_pretrained(tmp_path / "before")
    expected, names = model(**inputs).logits, list(model.state_dict())
    packing, seen = Packing(model), shapes_in_layers(model)
    with packing.of(LENGTHS):
        model(**inputs)
    seen.clear()
    assert torch.equal(model(**inputs).logits, expected)
    assert seen == {(len(LENGTHS), max(LENGTHS))}
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path / "after")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "before" / file).read_bytes() == (tmp_path / "after" / file).read_bytes()


def test_the_local_window_is_that_of_the_padded_model_to_the_token():
    """Attention probabilities of transformers' eager ModernBERT against an attention that gives each key's place."""
    config = make("modernbert").config
    eager = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    inputs = batch((30,))
    local = eager(**inputs, output_attentions=True).attentions[1][0, 0] > 0  # (T, T)
    assert eager.layers[1].attn.sliding_window == LOCAL // 2 + 1
    keys = torch.eye(30)[:, None]  # (N, 1, D), of which each value is its own place
    found = padded([torch.zeros(30, 1, 30), torch.zeros(30, 1, 30), keys], Plan([30], 30, CPU), 0.0, None, LOCAL // 2 + 1)
    assert torch.equal(found[:, 0] > 0, local)
    assert not local.all()


@every_head
@every_family
def test_no_text_sees_another(family, head):
    model = make(family, head).eval()
    first, other = batch(seed=1), batch(seed=2)
    changed = {"input_ids": first["input_ids"].clone(), "attention_mask": first["attention_mask"]}
    changed["input_ids"][3] = other["input_ids"][3]
    packing = Packing(model)
    with torch.inference_mode(), packing.of(LENGTHS):
        before, after = model(**first).logits, model(**changed).logits
    for row, length in enumerate(LENGTHS):
        same = torch.equal(before[row, :length], after[row, :length]) if head == "token" else torch.equal(before[row], after[row])
        assert same == (row != 3)


def test_a_row_gives_what_it_gives_alone():
    model = make("modernbert").eval()
    inputs = batch()
    with torch.inference_mode(), Packing(model).of(LENGTHS):
        together = model(**inputs).logits
    for row, length in enumerate(LENGTHS):
        alone = model(input_ids=inputs["input_ids"][row : row + 1, :length], attention_mask=torch.ones(1, length, dtype=torch.int64)).logits
        assert torch.allclose(together[row, :length], alone[0], atol=1e-5)


@every_head
@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_that_runs_layers_again_after_the_context_gives_the_same_gradients(family, head, dropout, reentrant):
    model = make(family, head, dropout)
    inputs, packing = batch(), Packing(model)

    def run():
        torch.manual_seed(3)
        with packing.of(LENGTHS):
            loss = loss_of(model, inputs)
        with packing.of((1, 2)):  # the next batch must not matter
            return gradients(model, loss)

    expected = run()
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    seen = []
    layers = next(part for part in model.base_model.modules() if isinstance(part, torch.nn.ModuleList))
    next(part for part in layers[1].modules() if isinstance(part, torch.nn.Linear)).register_forward_hook(
        lambda _, __, output: seen.append(tuple(output.shape[:2]))
    )
    assert_same(run(), expected)
    assert seen == [(1, sum(LENGTHS))] * 2


@pytest.mark.parametrize(("family", "head_output"), [("bert", "attention.output.dense"), ("modernbert", "attn.Wo")])
def test_attention_is_dropped_at_the_rate_of_the_model_while_training(family, head_output):
    model = make(family, attention_dropout=0.3)
    layers = next(part for part in model.base_model.modules() if isinstance(part, torch.nn.ModuleList))
    seen = []
    layers[0].get_submodule(head_output).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    packing, inputs = Packing(model), batch([1] * 1000)
    for mode in (model.train, model.eval):
        mode()
        with packing.of([1] * 1000):
            model(**inputs)
    trained, plain = (part.view(1000, 4, 8) for part in seen)  # one text is one token: all its attention is kept or dropped
    kept = trained.ne(0).all(-1)
    assert torch.equal(kept, trained.ne(0).any(-1))
    assert float(kept.float().mean()) == pytest.approx(0.7, abs=0.03)  # four standard deviations of 4,000 draws
    assert torch.allclose(trained[kept], plain[kept] / 0.7, rtol=1e-5)


def test_a_seed_repeats_a_pass_with_dropout():
    model = make(dropout=0.2)
    inputs, packing = batch(), Packing(model)

    def run(seed):
        torch.manual_seed(seed)
        with packing.of(LENGTHS):
            return loss_of(model, inputs).item()

    assert run(1) == run(1) != run(2)


def test_bf16_is_close_to_the_padded_model():
    model = make().eval()
    inputs = batch()
    with Precision("bf16", "cpu").autocast(), torch.inference_mode():
        expected = model(**inputs).logits
        with Packing(model).of(LENGTHS):
            found = model(**inputs).logits
    real = inputs["attention_mask"].bool()
    assert torch.allclose(found[real].float(), expected[real].float(), atol=0.05)


@every_head
@every_family
def test_the_device_is_never_asked_for_a_value(family, head):
    """A tensor on the meta device has no values; whoever asks for one gets an error."""
    model = make(family, head).to(META)
    inputs = {name: values.to(META) for name, values in batch().items()}
    with Packing(model).of(LENGTHS):
        loss = loss_of(model, inputs)
    assert gradients(model, loss)


def test_an_error_inside_the_context_leaves_no_plan():
    model = make().eval()
    packing, expected = Packing(model), model(**batch()).logits
    with pytest.raises(IndexError), packing.of(LENGTHS):
        model(input_ids=torch.full((5, 40), 1000), attention_mask=batch()["attention_mask"])
    assert torch.equal(model(**batch()).logits, expected)


def test_places_of_tokens_and_beginnings_of_rows():
    plan = Plan([2, 1, 3], 3, CPU)
    assert plan.places.tolist() == [0, 1, 3, 6, 7, 8]
    assert (plan.starts.tolist(), plan.starts.dtype) == ([0, 2, 3, 6], torch.int32)
    rows = torch.arange(9).view(3, 3)
    assert plan.pack(rows).tolist() == [0, 1, 3, 6, 7, 8]
    assert plan.pad(plan.pack(rows)).tolist() == [[0, 1, 0], [3, 0, 0], [6, 7, 8]]


@pytest.mark.parametrize("lengths", [[2, 0], [2, 4]])
def test_a_row_without_tokens_or_longer_than_the_batch_is_refused(lengths):
    with pytest.raises(AssertionError):
        Plan(lengths, 3, CPU)


@pytest.mark.parametrize("family", ["deberta-v2", "mpnet", "albert"])
def test_attention_of_its_own_is_refused(family):
    with META:
        model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(family))
    answer, reason = can_pack(model, torch.device("cuda"), Precision("bf16", "cuda"))
    assert not answer
    assert reason.startswith(f"the attention of {family} is its own")


def test_a_model_that_reads_forwards_only_is_refused():
    model = make()
    model.config.is_decoder = True
    assert not can_pack(model, torch.device("cuda"), Precision("bf16", "cuda"))[0]


def test_a_cpu_keeps_batches_of_like_length():
    assert can_pack(make(), CPU, Precision("bf16", "cpu")) == (False, "it is for GPUs; batches of like length instead")


def test_the_kernel_gets_the_windows_and_the_rate_in_both_passes():
    calls = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            calls.append((function._schema.name.removeprefix("aten::_flash_attention_"), args, kwargs))
            return function(*args, **(kwargs or {}))

    parts = [torch.empty(6, 2, 32, device=META, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    with Watch():
        mixed = ragged(parts, Plan([2, 1, 3], 4, META), 0.25, 0.5, 5)
        mixed.sum().backward()
    found = {name: (args, kwargs) for name, args, kwargs in calls if name in ("forward", "backward")}
    assert mixed.shape == (6, 2, 32)
    assert found["forward"][0][5:8] == (4, 4, 0.25)
    assert found["backward"][0][8:11] == (4, 4, 0.25)
    for _, kwargs in found.values():
        assert kwargs == {"scale": 0.5, "window_size_left": 4, "window_size_right": 4}


def leaking(parts, plan, *rest):
    return padded(parts, Plan([len(parts[0])], len(parts[0]), CPU), *rest)


def wider(parts, plan, dropout, scale, window):
    return padded(parts, plan, dropout, scale, window and window + 1)


def narrower(parts, plan, dropout, scale, window):
    return padded(parts, plan, dropout, scale, window and window - 1)


def unscaled(parts, plan, dropout, scale, window):
    return padded(parts, plan, dropout, 1.0, window)


def undropped(parts, plan, dropout, scale, window):
    return padded(parts, plan, 0.0, scale, window)


def redrawn(parts, *rest):
    """Another mask for the values than for their gradient."""
    slope = padded(parts, *rest)
    return padded(parts, *rest).detach() + slope - slope.detach()


def detached(parts, *rest):
    return padded([parts[0].detach(), *parts[1:]], *rest) + 0 * parts[0]


@pytest.mark.parametrize("width", [32, 64, 128])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_trial_passes_attention_in_half_precision(dtype, width):
    before = torch.get_rng_state()
    assert kernel_fault(CPU, dtype, width, padded) == ""
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("way", [leaking, wider, narrower, unscaled, undropped, redrawn, detached], ids=lambda way: way.__name__)
@pytest.mark.parametrize("width", [32, 64])
def test_the_trial_finds_a_kernel_that_is_wrong(way, width):
    assert kernel_fault(CPU, torch.bfloat16, width, way)


def test_a_kernel_that_is_missing_is_a_reason_to_pad():
    assert kernel_fault(CPU, torch.bfloat16, 64).startswith("Could not run 'aten::_flash_attention_forward'")


on_a_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


class TestOnAGpu:
    pytestmark = on_a_gpu

    @pytest.mark.parametrize("width", [32, 64, 128])
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_the_kernel_serves(self, dtype, width):
        assert kernel_fault(torch.device("cuda"), dtype, width) == ""

    @pytest.mark.parametrize("window", [None, 5])
    def test_without_dropout_it_is_torchs_varlen_attn(self, window):
        from torch.nn.attention.varlen import varlen_attn

        plan = Plan(LENGTHS, 40, torch.device("cuda"))
        parts = [torch.randn(sum(LENGTHS), 4, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3)]
        reach = (-1, -1) if window is None else (window - 1, window - 1)
        expected = varlen_attn(*parts, plan.starts, plan.starts, 40, 40, scale=0.125, window_size=reach)
        assert torch.equal(ragged(parts, plan, 0.0, 0.125, window), expected)

    @pytest.mark.filterwarnings("ignore:Synchronization debug mode")
    @every_family
    def test_a_packed_batch_is_close_to_a_padded_one_and_waits_for_nothing(self, family):
        model = make(family).cuda()
        inputs = {name: values.cuda() for name, values in batch().items()}
        answer, reason = can_pack(model, torch.device("cuda"), Precision("bf16", "cuda"))
        assert (answer, reason) == (True, "layers and attention skip padding")
        expected = gradients(model, loss_of(model, inputs))
        packing = Packing(model)

        def run():
            with Precision("bf16", "cuda").autocast(), packing.of(LENGTHS):
                loss = loss_of(model, inputs)
            return gradients(model, loss)

        run()  # the kernel is tried
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        before, after = (torch.cat([part.flatten() for part in parts.values()]) for parts in (expected, found))
        assert float((after - before).norm()) < 0.05 * float(before.norm())

    def test_in_fp32_attention_is_padded_and_exact(self):
        model = make().cuda()
        inputs = {name: values.cuda() for name, values in batch().items()}
        expected = gradients(model, loss_of(model, inputs))
        assert can_pack(model, torch.device("cuda"), Precision("fp32", "cuda"))[1].startswith("layers skip padding, attention does not: ")
        with Packing(model).of(LENGTHS):
            loss = loss_of(model, inputs)
        assert_same(gradients(model, loss), expected)
