"""Loading a model's weights into torch, whatever its family: for training with a head for the labels, or finished as it is."""

import pickle
import re
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from tunny.core.console import choice, say
from tunny.core.errors import ModelError
from tunny.data.labels import LabelSet
from tunny.data.settings import TOKEN_KINDS
from tunny.engine.attention import use_plain_attention
from tunny.engine.dropout import use_cheap_dropout
from tunny.tasks.layers import depth_of
from tunny.tasks.model import Loaded, quiet_transformers, unknown
from tunny.tasks.settings import DistillSettings, ModelSettings
from tunny.tasks.student import student_of


def load_model(
    settings: ModelSettings, loaded: Loaded, labels: LabelSet, device: torch.device, seed: int, distill: DistillSettings | None = None
) -> nn.Module:
    """Load the encoder with a head for the labels, or make a student of it; a new head is drawn from `seed`, and said."""
    transformers = quiet_transformers()
    names = dict(enumerate(labels.names))
    problem = {"multilabel": "multi_label_classification", "regress": "regression"}.get(labels.kind)
    config = transformers.AutoConfig.from_pretrained(
        loaded.source, num_labels=len(names), id2label=names,
        label2id={name: number for number, name in names.items()},
        **({"problem_type": problem or "single_label_classification"} if labels.kind not in TOKEN_KINDS else {}),
    )  # fmt: skip
    torch.manual_seed(seed)
    model, info = _from_pretrained(labels.kind, settings, loaded.source, config, device, ignore_mismatched_sizes=True)
    made = sorted({*info["missing_keys"], *(key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"])})
    if info["mismatched_keys"] and not settings.new_head:
        raise ModelError(
            f"{settings.name}: its head does not fit {len(names)} labels ({', '.join(made)}). "
            "Set model.new_head: true to replace it, or data.labels to the model's own."
        )
    reason = f"the model has no fitting weights for {', '.join(made)}" if made else _fit_head(model, loaded.config, labels, settings)
    if reason:
        choice("head", f"new ({len(names)} outputs)", reason)
    if distill is not None:
        model = student_of(model, distill)
    _freeze(model, settings)
    if device.type == "cpu" and use_cheap_dropout(model):
        choice("dropout", "from 16 random bits an element", "the rate is exact to 1 in 131,072, and a CPU draws it faster")
    return model


def _fit_head(model: nn.Module, base: Any, labels: LabelSet, settings: ModelSettings) -> str:
    """Match the rows of a head that a model brings to the labels by name; return why it is made anew, or nothing if it is kept."""
    had = [str(base.id2label[number]) for number in range(base.num_labels)]
    if had == list(labels.names) or all(re.fullmatch(r"LABEL_\d+", name) for name in had):
        return ""
    prefix = str(model.base_model_prefix)
    heads = [part for name, part in model.named_modules() if isinstance(part, nn.Linear) and not name.startswith(f"{prefix}.")]
    (head,) = [part for part in heads if part.out_features == len(had)][-1:]
    with torch.no_grad():
        if sorted(had) == sorted(labels.names):
            rows = [had.index(name) for name in labels.names]
            head.weight.copy_(head.weight[rows].clone())
            if head.bias is not None:
                head.bias.copy_(head.bias[rows].clone())
            say("head: the model's own, its rows put in the order of the labels")
            return ""
        if not settings.new_head:
            raise ModelError(
                f"{settings.name}: its head knows {', '.join(had)}, not {', '.join(labels.names)}. "
                "Set model.new_head: true to replace it, or data.labels to the model's own."
            )
        nn.init.normal_(head.weight, std=getattr(base, "initializer_range", 0.02))
        if head.bias is not None:
            nn.init.zeros_(head.bias)
    return f"the model's own knows other labels: {', '.join(had)}"


def on_paper(loaded: Loaded) -> nn.Module:
    """Return the encoder without memory for its weights, to be counted."""
    with torch.device("meta"):
        model: nn.Module = quiet_transformers().AutoModel.from_config(loaded.config)
    return model


def load_finished(folder: str, kind: str, device: torch.device) -> nn.Module:
    """Load a trained model as it is; raise ModelError where weights are missing."""
    model, info = _from_pretrained(kind, ModelSettings(name=folder), folder, None, device)
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ModelError(f"{folder}: is no trained {kind} model; weights are missing for {', '.join(sorted(info['missing_keys']))}")
    if device.type == "cpu":
        use_cheap_dropout(model)  # does nothing here, and costs nothing
    model.eval()
    return model.to(device)


def _from_pretrained(
    kind: str, settings: ModelSettings, source: str, config: Any, device: torch.device, **options: Any
) -> tuple[nn.Module, Any]:
    transformers = quiet_transformers()
    auto = transformers.AutoModelForTokenClassification if kind in TOKEN_KINDS else transformers.AutoModelForSequenceClassification
    if config is not None:
        options["config"] = config
    try:
        model, info = auto.from_pretrained(source, output_loading_info=True, dtype=torch.float32, trust_remote_code=False, **options)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{settings.name}: cannot be loaded as a model: pytorch_model.bin holds more than tensors, or is damaged; nothing else is "
            "unpickled. Save the model as model.safetensors."
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, SafetensorError) as error:
        raise ModelError(unknown(settings.name, error)) from error
    if device.type == "cpu":
        use_plain_attention(model)
    return model, info


def _freeze(model: nn.Module, settings: ModelSettings) -> None:
    frozen = 0
    for name, parameter in model.named_parameters():
        depth = depth_of(name)
        if (depth == 0 and settings.freeze_embeddings) or (depth is not None and 0 < depth <= settings.freeze_layers):
            parameter.requires_grad_(False)
            frozen += parameter.numel()
    if frozen:
        say(f"model: {frozen:,} parameters are frozen")
