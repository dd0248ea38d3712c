"""Writing the model folder of a run, and gathering what its card says: its data, its scores, and an answer of the model itself."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, cast

from safetensors.torch import save_file
from torch import Tensor

from tunny.core.files import new_folder, write_text
from tunny.core.hub import NAME
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.find import HUB
from tunny.data.prepare import Dataset
from tunny.data.settings import LEARNT
from tunny.data.survey import examples_of
from tunny.engine.compute import TorchModel
from tunny.ship.card import LONGEST, About, model_card
from tunny.ship.folder import write_facts
from tunny.ship.predictor import Predictor, Text
from tunny.tasks.model import EMBEDDED_HUB_ID, Loaded

LOOKED_AT = 1000  # examples of a set among which one is looked for that fits on a card
FIXED = ("The Morning Star landed turbot in Lerwick.", "Fish came to Lerwick.")  # where no text of the data is shown


def save_model(folder: Path, state: Mapping[str, Tensor], own: Predictor, loaded: Loaded, about: About) -> None:
    """Write weights, config, tokenizer, model card and tunny.json, whole or not at all; replace a folder that is there."""
    with new_folder(folder, replace=True) as temporary:
        module: Any = cast(TorchModel, own.model).module
        module.config.architectures = [type(module).__name__]
        module.config.save_pretrained(temporary)
        save_file(dict(state), temporary / "model.safetensors", metadata={"format": "pt"})
        loaded.tokenizer.save_pretrained(temporary)
        write_facts(temporary, own.facts, loaded.tokenizer.backend_tokenizer)
        write_text(temporary / "README.md", model_card(own.facts.labels, about))


def gather(
    predictor: Predictor, dataset: Dataset, evaluations: Mapping[str, Mapping[str, Any]], name: str, base_model: str,
    settings: Mapping[str, Any], with_examples: bool,
) -> About:  # fmt: skip
    """Return what the card of a run says; texts of the data only `with_examples`."""
    train, text = dataset.splits["train"], _text_of(dataset, with_examples)
    local = Path(base_model).expanduser().is_dir()
    on_hub = NAME.fullmatch(EMBEDDED_HUB_ID if base_model == "embedded" else base_model)
    base = Path(base_model).name if local or on_hub is None else on_hub["repo"]
    return About(
        name, base, not local, predictor.facts.encode,
        {split.name: len(split.examples) for split in dataset.splits.values()},
        {split.name: [file if file.startswith(HUB) else Path(file).name for file in split.files] for split in dataset.splits.values()},
        _happened(dataset), train.label_counts, examples_of(train, LONGEST) if with_examples else {}, evaluations, settings,
        settings.get("data", {}).get("language"), predictor.facts.tuned,
        (text, predictor.predict([text])[0]),
    )  # fmt: skip


def _happened(dataset: Dataset) -> list[str]:
    """Return what reading and encoding repaired and what they left out, in a line each."""
    audit, lines = Audit(), []
    for other in [*(split.audit for split in dataset.splits.values()), *([dataset.read] if dataset.read else [])]:
        audit.add(other)
    for fate, what in (("Repaired", "repaired"), ("Left out", "dropped")):
        met = {unit: getattr(flow, what) for unit, flow in audit.flows.items()}
        parts = [f"{reasons.total():,} {unit} ({', '.join(reasons)})" for unit, reasons in met.items() if reasons.total()]
        lines += [f"{fate}: {', '.join(parts)}."] if parts else []
    return lines


def _text_of(dataset: Dataset, with_examples: bool) -> Text:
    """Return a short text of the test data, else of the validation data, that has labels if there is one; else a fixed one."""
    paired = any(example.text_b is not None for example in islice(dataset.splits["train"].examples, 1))
    scored = [split for name, split in sorted(dataset.splits.items()) if name not in LEARNT]  # test comes first
    found = [example for split in scored[:1] for example in islice(split.examples, LOOKED_AT)] if with_examples else []
    short = [example for example in found if all(0 < len(text) <= LONGEST for text in _texts(example))]
    chosen = next((example for example in short if example.spans or example.labels), next(iter(short or found), None))
    if chosen is None:
        return FIXED if paired else FIXED[0]
    texts = [text if len(text) <= LONGEST else text[: LONGEST + 1].rpartition(" ")[0] or text[:LONGEST] for text in _texts(chosen)]
    return (texts[0], texts[1]) if len(texts) == 2 else texts[0]


def _texts(example: Example) -> list[str]:
    return [text for text in (example.text, example.text_b) if text is not None]
