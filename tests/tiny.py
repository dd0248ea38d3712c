"""Small real models of every family and small real tokenizers of every kind, trained here in a moment."""

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SENTENCES = [
    "Marie Curie was born in Warsaw and worked in Paris.",
    "The Morning Star landed nine boxes of turbot in Lerwick on Monday.",
    "Ferry tickets cost 12.50 euros; children under 5 travel free!",
    "Nobody knows why the old lighthouse keeper left Göteborg in 1954.",
    "She said: \"I can't believe it's already Tuesday,\" and laughed.",
    "The company Acme Ltd. bought three ships from a yard in Bergen.",
    "Wind from the north-west, force 6, rough seas, good visibility.",
    "Herring, cod and haddock were sold at the auction in Peterhead.",
]
VOCABULARIES = json.loads(Path(__file__).with_name("tiny_vocabularies.json").read_text("utf-8"))
SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
FAMILIES = ("bert", "distilbert", "roberta", "xlm-roberta", "deberta-v2", "electra", "albert", "mpnet", "modernbert")
TOKENIZERS = ("wordpiece-uncased", "wordpiece-cased", "byte-bpe", "byte-bpe-prefix", "unigram")


def make_tokenizer(kind: str, vocab_size: int = 400) -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer of a kind, trained on SENTENCES, with BERT's or RoBERTa's special tokens.

    Only BPE is trained here: what the other trainers find differs from process to process, so their vocabularies are kept in a file.
    """
    special = list(SPECIAL.values())
    if kind.startswith("wordpiece"):
        raw = Tokenizer(
            models.WordPiece(vocab={token: number for number, token in enumerate(VOCABULARIES[kind])}, unk_token=SPECIAL["unk"])
        )
        raw.normalizer = normalizers.BertNormalizer(lowercase=kind.endswith("uncased"))
        raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        raw.decoder = decoders.WordPiece()
    elif kind.startswith("byte-bpe"):
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind.endswith("prefix"), trim_offsets=True)
        raw.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
        raw.train_from_iterator(SENTENCES * 4, trainer)
    elif kind == "unigram":
        raw = Tokenizer(models.Unigram([(token, score) for token, score in VOCABULARIES[kind]], special.index(SPECIAL["unk"])))
        raw.normalizer = normalizers.NFKC()
        raw.pre_tokenizer = pre_tokenizers.Metaspace()
        raw.decoder = decoders.Metaspace()
    else:
        raise ValueError(kind)
    raw.add_special_tokens(special)
    cls, sep = SPECIAL["cls"], SPECIAL["sep"]
    types = 0 if kind.startswith("byte") or kind == "unigram" else 1
    raw.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:{types} {sep}:{types}",
        special_tokens=[(token, raw.token_to_id(token)) for token in (cls, sep)],
    )
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if types else ["input_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, model_input_names=inputs, **names)


def make_model(family: str, vocab_size: int) -> transformers.PreTrainedModel:
    """Return a random encoder of a family: 2 layers, 32 wide, 4 heads, 128 positions or more."""
    common = {"vocab_size": vocab_size, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    positions = {"max_position_embeddings": 130, "pad_token_id": 0}
    made = {
        "bert": lambda: transformers.BertConfig(**common, **positions),
        "distilbert": lambda: transformers.DistilBertConfig(
            vocab_size=vocab_size, dim=32, n_layers=2, n_heads=4, hidden_dim=64, **positions
        ),
        "roberta": lambda: transformers.RobertaConfig(**common, **positions, type_vocab_size=1),
        "xlm-roberta": lambda: transformers.XLMRobertaConfig(**common, **positions, type_vocab_size=1),
        "deberta-v2": lambda: transformers.DebertaV2Config(
            **common, **positions, relative_attention=True, position_buckets=16, pos_att_type=["p2c", "c2p"], type_vocab_size=0
        ),
        "camembert": lambda: transformers.CamembertConfig(**common, **positions, type_vocab_size=1),
        "electra": lambda: transformers.ElectraConfig(**common, **positions, embedding_size=16),
        "albert": lambda: transformers.AlbertConfig(**common, **positions, embedding_size=16),
        "mpnet": lambda: transformers.MPNetConfig(**common, **positions),
        "modernbert": lambda: transformers.ModernBertConfig(
            **common, **positions, local_attention=16, global_attn_every_n_layers=2, cls_token_id=2, sep_token_id=3,
            bos_token_id=2, eos_token_id=3, reference_compile=False,
        ),
    }[family]()  # fmt: skip
    torch.manual_seed(7)
    return transformers.AutoModel.from_config(made)


def tokenizer_kind(family: str) -> str:
    """Return the kind of tokenizer that models of a family use."""
    kinds = {
        "roberta": "byte-bpe",
        "modernbert": "byte-bpe",
        "xlm-roberta": "unigram",
        "camembert": "unigram",
        "deberta-v2": "unigram",
        "albert": "unigram",
    }
    return kinds.get(family, "wordpiece-uncased")


def save_model(family: str, folder: Path, kind: str | None = None) -> Path:
    """Save a tiny encoder with its tokenizer as a Hugging Face folder and return the folder."""
    tokenizer = make_tokenizer(kind or tokenizer_kind(family))
    make_model(family, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
