"""Writing a model folder: a plain Hugging Face folder plus `tunny.json`, self-contained, whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from tunny.core.files import new_folder, write_text
from tunny.ship.card import About, model_card
from tunny.ship.folder import ModelFacts, write_facts
from tunny.tasks.model import Loaded


def save_model(folder: Path, state: Mapping[str, Tensor], model: nn.Module, loaded: Loaded, facts: ModelFacts, about: About) -> None:
    """Write weights, config, tokenizer, model card and tunny.json; replace a folder that is there."""
    with new_folder(folder, replace=True) as temporary:
        config: Any = model.config
        config.architectures = [type(model).__name__]
        config.save_pretrained(temporary)
        save_file(dict(state), temporary / "model.safetensors", metadata={"format": "pt"})
        loaded.tokenizer.save_pretrained(temporary)
        write_facts(temporary, facts, loaded.tokenizer.backend_tokenizer)
        write_text(temporary / "README.md", model_card(facts.labels, about))
