"""Vocabulary trimming: a model folder without the embedding rows that a user's language never needs, and a tokenizer to match.

Kept are the pieces of the data, special tokens, bytes, and single characters, of letters those of the scripts in the data, so that
other text still works. The pieces of the data stay the same, as what is kept is a part of what there was and holds of
- WordPiece (longest match first) every match, also those in words that end as unknown: none that is longer can come up;
- Unigram (best path) the pieces of the best paths, and the least score, from which that of the unknown is counted;
- BPE (merges by rank) all that merges into a piece: no merge that was made is missing, and no other takes its place.
What comes out answers the whole data again, and is left only where every answer is the same.
"""

import json
import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from tunny.core.console import progress, say
from tunny.core.errors import DataError, ModelError, RunError
from tunny.core.files import new_folder, read_json, write_json
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example
from tunny.data.labels import given_names
from tunny.data.prepare import chunked
from tunny.data.read import read
from tunny.data.settings import DataSettings
from tunny.engine.settings import EngineSettings
from tunny.ship.folder import write_facts
from tunny.ship.predictor import load
from tunny.tasks.model import Loaded, load_tokenizer
from tunny.tasks.settings import FACTS, ModelSettings, TaskSettings
from tunny.tasks.weights import load_finished

RARE = 1e-5  # share of the characters of the data below which a script is taken for a quotation
_CARD = "\n## Vocabulary\n\nTrimmed to {:,} of {:,} tokens for one language: texts of others get more pieces, or unknown ones.\n"
_BYTE = re.compile("<0x[0-9A-F]{2}>")

Spec = dict[str, Any]  # what a tokenizer.json holds


def trim(
    name: str, files: Sequence[str], out: Path, columns: DataSettings, engine: EngineSettings | None = None,
    task: TaskSettings | None = None,
) -> None:  # fmt: skip
    """Write a model folder with the vocabulary that the files need; `columns` overrules how the training read its data.

    Raises ModelError for a tokenizer that cannot be trimmed, and where an answer would change; nothing is then written.
    """
    if out.exists():
        raise RunError(f"{out}: is there already. Remove it, or name another folder with --out.")
    loaded = load_tokenizer(ModelSettings(name=name))
    engine = (engine or EngineSettings()).model_copy(update={"variant": "torch"})  # exported ones have the whole vocabulary
    predictor = load(loaded.source, engine=engine, task=task)
    settings = predictor.reading(columns)
    kind, source = predictor.task.labels.kind, Path(loaded.source)

    def examples() -> Iterator[Example]:
        return read(files, settings, kind, Audit(), names=given_names(settings), labels_needed=False)

    keep = sorted(_kept(loaded, predictor.encoder, examples))
    with new_folder(out) as temporary:
        model: Any = load_finished(loaded.source, kind, torch.device("cpu"))
        _take_rows(model, keep)
        model.to(loaded.config.dtype or torch.float32).save_pretrained(temporary)
        _write_tokenizer(loaded.tokenizer, temporary, keep)
        if (source / FACTS).is_file():
            new = load_tokenizer(ModelSettings(name=str(temporary)))
            facts = replace(predictor.facts, padding=new.padding, variants={}, chosen={})
            write_facts(temporary, facts, new.tokenizer.backend_tokenizer)
        if (source / "README.md").is_file():
            shutil.copyfile(source / "README.md", temporary / "README.md")
        with (temporary / "README.md").open("a", encoding="utf-8") as card:
            card.write(_CARD.format(len(keep), len(loaded.tokenizer)))
        say("answering the data with the new model too")
        answers = zip(predictor.answers(examples()), load(temporary, engine=engine, task=task).answers(examples()), strict=True)
        same = 0
        for (example, before), (_, after) in progress(answers, "comparing", unit="texts"):
            if before.prediction != after.prediction:
                raise ModelError(f"{name}: the answer to {example.id} would change without the rest of the vocabulary; nothing was written")
            same += 1
        before_size, size = (sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6 for folder in (source, temporary))
    say(f"vocabulary: {len(keep):,} of {len(loaded.tokenizer):,} tokens; weights: {size:,.1f} MB of {before_size:,.1f}")
    say(f"answers: the same to all {same:,} texts\nmodel: {out}")


def _kept(loaded: Loaded, encoder: Encoder, examples: Callable[[], Iterable[Example]]) -> set[int]:
    tokenizer: Tokenizer = loaded.tokenizer.backend_tokenizer
    spec: Spec = json.loads(tokenizer.to_str())
    model, vocabulary = spec["model"], tokenizer.get_vocab()
    if model["type"] not in ("WordPiece", "Unigram", "BPE"):
        raise ModelError(f"{loaded.source}: expected a WordPiece, Unigram or BPE tokenizer to trim, found {model['type']}")
    keep, characters = set[int](), Counter[str]()
    for chunk in chunked(examples()):
        texts = [text for example in chunk for text in (example.text, example.text_b) if text]
        characters.update(chain.from_iterable(texts))
        found = encoder.finder.find(texts)
        keep.update(found.ids.tolist())
        if model["type"] == "WordPiece":
            unknown = np.repeat(np.arange(len(texts)), found.counts)[found.ids == vocabulary.get(model["unk_token"], -1)]
            keep.update(vocabulary[piece] for at in np.unique(unknown) for piece in _matches(texts[at], tokenizer, vocabulary, model))
    if not keep:
        raise DataError(f"{loaded.source}: the data to trim its vocabulary to has no text")
    keep.update(_always(loaded, spec, vocabulary), (vocabulary[piece] for piece in _singles(spec, vocabulary, characters)))
    if model["type"] == "BPE":
        made: dict[int, list[int]] = defaultdict(list)
        for pair in model["merges"]:
            made[vocabulary[_merged(pair, model)]] += [vocabulary[piece] for piece in pair]
        waiting = list(keep)
        while waiting:
            parts = set(made[waiting.pop()]) - keep
            keep |= parts
            waiting += parts
    return keep


def _always(loaded: Loaded, spec: Spec, vocabulary: Mapping[str, int]) -> Iterator[int]:
    """Yield the ids of special tokens, and those that positions and scores are counted from."""
    model = spec["model"]
    yield from (token["id"] for token in spec["added_tokens"])
    yield from (number for _, number in _special_ids(loaded.config) if 0 <= number < len(vocabulary))
    if loaded.padding.pad_id < 1000:
        yield from range(loaded.padding.pad_id + 1)  # RoBERTa and its kin count positions from this number, so it stays
    if model["type"] == "Unigram":
        yield min(range(len(model["vocab"])), key=lambda number: model["vocab"][number][1])
        yield model["unk_id"] or 0
    elif model["unk_token"] in vocabulary:
        yield vocabulary[model["unk_token"]]


def _special_ids(config: Any) -> list[tuple[str, int]]:
    return [(name, value) for name, value in config.to_dict().items() if name.endswith("_token_id") and isinstance(value, int)]


def _singles(spec: Spec, vocabulary: Iterable[str], characters: Counter[str]) -> Iterator[str]:
    """Yield the pieces that are bytes or single characters; of letters those of the data's scripts."""
    scripts = Counter[str]()
    for character, count in characters.items():
        scripts[_script(character)] += count
    all_bytes = '"ByteLevel"' in json.dumps([spec["pre_tokenizer"], spec["decoder"]])
    prefix, suffix = (spec["model"].get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix"))
    for piece in vocabulary:
        bare = piece.removeprefix(prefix).removeprefix("▁").removesuffix(suffix)
        known = all_bytes or bare.isascii() or scripts[_script(bare[:1])] > RARE * scripts.total()
        if (len(bare) < 2 and (known or unicodedata.category(bare)[0] not in "LM")) or _BYTE.fullmatch(piece):
            yield piece


def _script(character: str) -> str:
    """Return the script of a letter: the first word of its name."""
    return re.split("[ -]", unicodedata.name(character, "?"))[0] if character else ""


def _matches(text: str, tokenizer: Tokenizer, vocabulary: Mapping[str, int], model: Spec) -> Iterator[str]:
    """Yield the longest matches of each word one after another, to its end or until nothing matches."""
    normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal) if tokenizer.pre_tokenizer else [(normal, None)]:
        start, prefix = 0, ""
        while start < len(word) <= model["max_input_chars_per_word"]:
            end = next((end for end in range(len(word), start, -1) if prefix + word[start:end] in vocabulary), None)
            if end is None:
                break
            yield prefix + word[start:end]
            start, prefix = end, model["continuing_subword_prefix"]


def _merged(pair: Sequence[str], model: Spec) -> str:
    return pair[0] + pair[1].removeprefix(model["continuing_subword_prefix"] or "")


def _write_tokenizer(tokenizer: Any, folder: Path, keep: Sequence[int]) -> None:
    """Write a tokenizer's files with the kept tokens, numbered anew in their order."""
    names = {number: piece for piece, number in tokenizer.backend_tokenizer.get_vocab().items()}
    new = {names[old]: number for number, old in enumerate(keep)}
    spec: Spec = json.loads(tokenizer.backend_tokenizer.to_str())
    model = spec["model"]
    if model["type"] == "Unigram":
        unknown = None if model["unk_id"] is None else new[names[model["unk_id"]]]
        model |= {"vocab": [entry for entry in model["vocab"] if entry[0] in new], "unk_id": unknown}
    else:
        model["vocab"] = {piece: new[piece] for piece in model["vocab"] if piece in new}
    if model["type"] == "BPE":
        model["merges"] = [pair for pair in model["merges"] if {*pair, _merged(pair, model)} <= model["vocab"].keys()]
    spec["added_tokens"] = [{**token, "id": new[token["content"]]} for token in spec["added_tokens"]]
    spec["post_processor"] = _renumbered(spec["post_processor"], new)
    if Tokenizer.from_str(json.dumps(spec)).get_vocab() != new:
        raise ModelError(f"{tokenizer.name_or_path}: cannot be trimmed: it has added tokens before others in its vocabulary")
    tokenizer.save_pretrained(folder)
    write_json(folder / "tokenizer.json", spec)
    settings = read_json(folder / "tokenizer_config.json")
    write_json(folder / "tokenizer_config.json", {name: value for name, value in settings.items() if name != "added_tokens_decoder"})


def _renumbered(part: Any, new: Mapping[str, int]) -> Any:
    """Return a post-processor of any kind with the new ids of its special tokens."""
    if isinstance(part, list):
        named = [type(each) for each in part] == [str, int]  # ["[SEP]", 102]
        return [part[0], new[part[0]]] if named else [_renumbered(each, new) for each in part]
    if isinstance(part, dict):
        return {key: [new[token] for token in part["tokens"]] if key == "ids" else _renumbered(value, new) for key, value in part.items()}
    return part


def _take_rows(model: nn.Module, keep: Sequence[int]) -> None:
    """Leave the kept rows in the embeddings of tokens, tied or not, and renumber the special ids of the config."""
    config: Any = model.config
    new: dict[int | None, int] = {old: number for number, old in enumerate(keep)}
    whole = model.get_input_embeddings().weight  # type: ignore[operator]
    rows = nn.Parameter(whole.detach()[torch.tensor(keep)])
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.weight is whole:
            module.weight, module.num_embeddings, module.padding_idx = rows, len(keep), new.get(module.padding_idx)
    config.vocab_size = len(keep)
    for name, value in _special_ids(config):
        setattr(config, name, new.get(value))
