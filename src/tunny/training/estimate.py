"""How long a training would take here and what memory it would want: arithmetic on the model and the data, nothing is trained.

Work is 6 FLOP a token and parameter outside the embeddings; of the measured ceiling of this machine Tunny's loop reaches the share
`REACHED`. Memory is weights, gradients and AdamW's two moments, and the activations of one batch after Korthikanti et
al. 2022 ("Reducing Activation Recomputation in Large Transformer Models"), section 4.
"""

from dataclasses import dataclass

from tunny.engine.ceiling import measure_ceiling
from tunny.engine.choose import choose_backend
from tunny.engine.precision import choose_precision
from tunny.engine.settings import EngineSettings
from tunny.tasks.layers import depth_of
from tunny.tasks.model import Loaded
from tunny.tasks.weights import on_paper
from tunny.training.settings import TrainSettings

REACHED = {"fp32": 0.6}  # of the ceiling by the loop, in other precisions 0.4: measured
STATE_BYTES = 16  # a parameter: weight, gradient and two moments in 32 bits


@dataclass(frozen=True)
class Estimate:
    """What a training would cost."""

    parameters: int
    seconds: float
    memory_bytes: int
    precision: str
    device: str


def estimate(loaded: Loaded, train: TrainSettings, engine: EngineSettings, tokens: int, rows: int, window: int) -> Estimate:
    """Return the cost of training on `rows` texts of together `tokens` tokens; what windows repeat is left out of account."""
    device = choose_backend(engine).device
    precision = choose_precision(engine.precision, device)
    model, config = on_paper(loaded), loaded.config
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    work = 6.0 * sum(size for name, size in sizes.items() if depth_of(name) != 0)
    rows_a_step = train.batch_size if train.batch_tokens is None else max(1, train.batch_tokens * rows // max(tokens, 1))
    passes = train.epochs if train.max_steps is None else train.max_steps * rows_a_step / max(rows, 1)
    seconds = work * tokens * passes / (measure_ceiling(device, precision) * REACHED.get(precision.name, 0.4))
    length = min(window, max(1, round(2 * tokens / max(rows, 1))))  # of the longer rows of a batch, about
    batch = min(rows_a_step, engine.micro_batch_limit or rows_a_step)
    width, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    held = layers * batch * length * (34 * width + 5 * heads * length)
    held = held if precision.name != "fp32" else 2 * held
    total = sum(sizes.values())
    return Estimate(total, seconds, STATE_BYTES * total + held, precision.name, device.type)
