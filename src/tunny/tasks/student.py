"""Making a student out of a model: some of its layers, fewer numbers a token, and a projection to compare it with a wider teacher.

A student is a model of the same family and a plain Hugging Face folder when it is saved; the projection stays in checkpoints.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tunny.core.errors import ConfigError, ModelError
from tunny.tasks.layers import depth_of, renumbered
from tunny.tasks.settings import DistillSettings

PROJECTION = "distill_projection"


def check_student(config: Any, settings: DistillSettings, name: str) -> None:
    """Raise ConfigError for layers or a width that a model of this config cannot give."""
    number, width, own = config.num_hidden_layers, settings.student_width, config.hidden_size
    if missing := [str(at) for at in settings.student_layers or () if at >= number]:
        has = f"layers of {name}, which has {number} (0 to {number - 1})"
        raise ConfigError(f"distill.student_layers: expected {has}, found {', '.join(missing)}. Leave out what is not there.")
    head = own // config.num_attention_heads
    if width is not None and (width >= own or width % head):
        wanted = f"less than the {own} of {name} and a multiple of the {head} of a head"
        near = max(head, min(width, own - 1) // head * head)
        raise ConfigError(f"distill.student_width: expected {wanted}, found {width}. Set {near}.")


def student_of(model: Any, settings: DistillSettings) -> nn.Module:
    """Return a new model of the chosen layers, whose weights are the model's own; a narrower one has the first numbers of each."""
    config = copy.deepcopy(model.config)
    layers = settings.student_layers or range(config.num_hidden_layers)
    config.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[at] for at in layers]
    if settings.student_width is not None:
        _narrow(config, settings.student_width)
    student: nn.Module = type(model)(config)
    wanted = {name: tensor.shape for name, tensor in student.state_dict().items()}
    places = {source: at for at, source in enumerate(layers)}
    taken = {renumbered(name, places): tensor for name, tensor in model.state_dict().items()}
    if other := [name for name in wanted.keys() ^ taken.keys() if name and depth_of(name)]:
        raise ModelError(
            f"distill.student_layers: layers {', '.join(map(str, layers))} make no {config.model_type} model (it wants or cannot take "
            f"{min(other)}): its first layer is unlike the others. Keep layer 0."
        )
    student.load_state_dict({name: taken[name][tuple(map(slice, shape))] for name, shape in wanted.items()})
    return student


def _narrow(config: Any, width: int) -> None:
    """Make a config narrower; heads keep their size, and what is inside a layer keeps its ratio to the width."""
    own = config.hidden_size
    config.num_attention_heads = config.num_attention_heads * width // own
    for name in ("intermediate_size", "hidden_dim"):  # DistilBERT has the second
        if hasattr(config, name):
            setattr(config, name, getattr(config, name) * width // own)
    for name in ("embedding_size", "pooler_hidden_size"):
        if getattr(config, name, None) == own:
            setattr(config, name, width)
    config.hidden_size = width


def teaching_layers(num_student: int, num_teacher: int, chosen: Sequence[int] | None) -> list[int]:
    """Return the teacher's layer that each of the student's is compared with: the one it was made of, else evenly spaced to the last.

    >>> teaching_layers(2, 6, None)
    [2, 5]
    """
    return list(chosen) if chosen is not None else [-(-(at + 1) * num_teacher // num_student) - 1 for at in range(num_student)]


def add_projection(student: Any, width: int) -> None:
    """Let a student give its hidden states as wide as the teacher's: a learnt projection of all layers, at first their own numbers."""
    projection = nn.Linear(student.config.hidden_size, width, bias=False)
    nn.init.eye_(projection.weight)
    student.add_module(PROJECTION, projection)

    def widen(model: nn.Module, _: Any, output: Any) -> Any:
        if hasattr(model, PROJECTION) and output.hidden_states is not None:
            output.hidden_states = tuple(map(projection, output.hidden_states))
        return output

    student.register_forward_hook(widen)


def load_finished_weights(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load the weights of a checkpoint, take the projection of a student off, and return the weights without it."""
    model.load_state_dict(state)
    if hasattr(model, PROJECTION):
        delattr(model, PROJECTION)
    return finished_weights(state)


def finished_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a checkpoint without the projection of a student."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(PROJECTION)}
