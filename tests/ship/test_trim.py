"""Trimming: the data keeps its pieces and its answers, whatever the tokenizer; other text still works; the file shrinks."""

import json
import random
import shutil

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors, trainers

import tunny
from tests.tiny import FAMILIES, SENTENCES, SPECIAL, make_model, make_tokenizer, tokenizer_kind
from tests.trained import trained
from tunny.cli import main
from tunny.core.errors import DataError, ModelError, RunError
from tunny.core.files import digest_file
from tunny.data.settings import DataSettings
from tunny.ship.trim import trim
from tunny.tasks.model import locate

NAMES = {0: "O", 1: "B-PER", 2: "I-PER"}


def save(folder, tokenizer, family="bert", **config):
    """Save a random tagger whose answers are not all alike."""
    encoder = make_model(family, len(tokenizer)).config
    for name, value in {"num_labels": 3, "id2label": NAMES, "label2id": {name: at for at, name in NAMES.items()}, **config}.items():
        setattr(encoder, name, value)
    torch.manual_seed(5)
    model = transformers.AutoModelForTokenClassification.from_config(encoder)
    torch.nn.init.normal_(model.classifier.weight, std=1.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def wrapped(raw, pad="[PAD]"):
    """A raw tokenizer with special tokens around a text."""
    ends = [(token, raw.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    raw.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends)
    names = {f"{name}_token": token for name, token in {**SPECIAL, "pad": pad}.items()}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, model_input_names=["input_ids", "attention_mask"], **names)


def trimmed(folder, texts):
    """Trim to texts and return the old and the new tokenizer, as transformers loads them."""
    data, out = folder.parent / "language.txt", folder.parent / "trimmed"
    data.write_text("\n".join(texts), "utf-8")
    trim(str(folder), [str(data)], out, DataSettings())
    return transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(out)


def pieces(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)


CASES = [*((family, tokenizer_kind(family)) for family in FAMILIES), ("bert", "wordpiece-cased"), ("roberta", "byte-bpe-prefix")]


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_every_family_and_kind_answers_the_same_with_fewer_tokens(tmp_path, family, kind):
    tokenizer = make_tokenizer(kind, 800)
    folder = save(tmp_path / "model", tokenizer, family)
    before, after = trimmed(folder, SENTENCES[:3])
    assert len(after) < 0.8 * len(before)
    assert json.loads((tmp_path / "trimmed" / "config.json").read_text("utf-8"))["vocab_size"] == len(after)
    assert [pieces(after, text) for text in SENTENCES[:3]] == [pieces(before, text) for text in SENTENCES[:3]]
    assert all(after.unk_token_id not in after(text).input_ids for text in SENTENCES)  # in smaller pieces
    assert after.convert_ids_to_tokens(range(len(after))) == [
        token for token in before.convert_ids_to_tokens(range(len(before))) if token in after.get_vocab()
    ]
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "trimmed"))
    rows = before.convert_tokens_to_ids(after.convert_ids_to_tokens(range(len(after))))
    for name, tensor in new.items():
        assert torch.equal(tensor, old[name][rows] if old[name].shape[:1] == (len(before),) else old[name])
    assert sum(tensor.shape[:1] == (len(after),) for tensor in new.values()) == 1


@pytest.mark.parametrize("kind", ["wordpiece-uncased", "byte-bpe", "unigram"])
@settings(max_examples=8, deadline=None)
@given(words=st.lists(st.sampled_from([*" ".join(SENTENCES).split(), "zq", "北", "Ωm", "shipsx"]), min_size=1, max_size=8))
def test_any_text_keeps_its_pieces(tmp_path_factory, kind, words):
    folder = save(tmp_path_factory.mktemp("any") / "model", make_tokenizer(kind, 800))
    before, after = trimmed(folder, [" ".join(words)])
    assert pieces(after, " ".join(words)) == pieces(before, " ".join(words))


def test_a_word_that_wordpiece_does_not_know_stays_unknown(tmp_path):
    """`abc` begins with the longest match `ab`, and nothing matches the rest; without `ab` it would be `a ##bc`."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "ab", "##bc", "##b", "xyz", "d"]
    raw = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _, after = trimmed(save(tmp_path / "model", wrapped(raw)), ["d abc"])
    assert pieces(after, "d abc") == ["[CLS]", "d", "[UNK]", "[SEP]"]
    assert set(after.get_vocab()) == {*vocabulary} - {"xyz", "##bc"}


def test_the_unknown_of_unigram_keeps_its_score(tmp_path):
    """The unknown counts 10 below the least score, -30: `x` and `bc` at -41 lose to `xb` and `c` at -22; from -20 it would win."""
    vocabulary = [("[PAD]", 0.0), ("[UNK]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[MASK]", 0.0)]
    raw = Tokenizer(models.Unigram([*vocabulary, ("rare", -30.0), ("xb", -20.0), ("c", -2.0), ("bc", -1.0), ("other", -5.0)], unk_id=1))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    _, after = trimmed(save(tmp_path / "model", wrapped(raw)), ["xbc"])
    assert pieces(after, "xbc") == ["[CLS]", "xb", "c", "[SEP]"]
    assert set(after.get_vocab()) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rare", "xb", "c"}


def test_of_bpe_all_that_merges_into_a_piece_stays(tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcd", "ab", "cd", "abcd", "bc", "da"]
    merges = [("a", "b"), ("c", "d"), ("ab", "cd"), ("b", "c"), ("d", "a")]
    raw = Tokenizer(models.BPE({piece: at for at, piece in enumerate(vocabulary)}, merges, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    before, after = trimmed(save(tmp_path / "model", wrapped(raw)), ["abcd"])
    assert pieces(after, "abcd") == pieces(before, "abcd") == ["[CLS]", "abcd", "[SEP]"]
    assert set(after.get_vocab()) == {*vocabulary} - {"bc", "da"}
    kept = json.loads((tmp_path / "trimmed" / "tokenizer.json").read_text("utf-8"))["model"]["merges"]
    assert kept == [["a", "b"], ["c", "d"], ["ab", "cd"]]


def test_letters_stay_of_the_scripts_of_the_data_and_all_signs(tmp_path):
    singles = [*"abcä", "##ß", *"жΩ北", "##б", "€", "7"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *singles, "word", "слово"]
    raw = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _, after = trimmed(save(tmp_path / "model", wrapped(raw)), ["a ж"])
    assert set(after.get_vocab()) == {*vocabulary[:5], *"abcä", "##ß", "ж", "##б", "€", "7"}


def test_where_positions_are_counted_from_the_padding_it_keeps_its_number(tmp_path):
    vocabulary = ["[UNK]", "[CLS]", "[SEP]", "one", "two", "[PAD]", "[MASK]", "three", "four"]
    raw = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    folder = save(tmp_path / "model", wrapped(raw), "xlm-roberta", pad_token_id=5, bos_token_id=1, eos_token_id=2)
    _, after = trimmed(folder, ["four"])
    assert after.convert_ids_to_tokens(range(len(after))) == ["[UNK]", "[CLS]", "[SEP]", "one", "two", "[PAD]", "[MASK]", "four"]


def test_tokens_that_were_added_stay_behind_the_others(tmp_path):
    tokenizer = make_tokenizer("wordpiece-cased")
    tokenizer.add_tokens([AddedToken("<vessel>"), AddedToken("<port>")])
    _, after = trimmed(save(tmp_path / "model", tokenizer), ["She left <port>"])
    assert after.convert_ids_to_tokens([len(after) - 2, len(after) - 1]) == ["<vessel>", "<port>"]
    assert pieces(after, "<port>") == ["[CLS]", "<port>", "[SEP]"]


def test_tied_embeddings_stay_tied(tmp_path):
    tokenizer = make_tokenizer("byte-bpe", 800)
    config = transformers.BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=130, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        decoder_start_token_id=3, forced_eos_token_id=3, num_labels=3,
    )  # fmt: skip
    transformers.BartForSequenceClassification(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    _, after = trimmed(tmp_path / "model", SENTENCES[:2])
    saved = load_file(tmp_path / "trimmed" / "model.safetensors")
    assert [name for name, tensor in saved.items() if len(after) in tensor.shape] == ["model.shared.weight"]


def words_of(alphabet, seed):
    generator = random.Random(seed)
    stems = ["".join(generator.choices(alphabet, k=generator.randint(2, 5))) for _ in range(300)]
    return ["".join(generator.choices(stems, k=generator.randint(1, 2))) for _ in range(3000)]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_multilingual_model_shrinks_by_more_than_half(tmp_path, kind):
    languages = [
        words_of(alphabet, at) for at, alphabet in enumerate(("abdeilmnorstuä", "абвгдеклмнорст", "αβγδεικλμνορστ", "אבגדהוילמנרשת"))
    ]
    special = list(SPECIAL.values())
    raw = Tokenizer(models.Unigram() if kind == "unigram" else models.BPE(unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = {
        "unigram": lambda: trainers.UnigramTrainer(vocab_size=3000, special_tokens=special, unk_token="[UNK]", show_progress=False),
        "bpe": lambda: trainers.BpeTrainer(vocab_size=3000, special_tokens=special, show_progress=False),
    }[kind]()
    raw.train_from_iterator([" ".join(words) for words in languages], trainer)
    trimmed(save(tmp_path / "model", wrapped(raw), "xlm-roberta"), [" ".join(languages[0][at : at + 9]) for at in range(0, 900, 9)])
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("trimmed", "model")]
    assert sizes[0] < 0.5 * sizes[1]


def test_a_model_of_ours_keeps_what_tunny_knows_and_its_card_says_what_was_done(tmp_path):
    model = trained("ner").model
    shutil.copytree(model, tmp_path / "model")
    trim(str(tmp_path / "model"), [str(trained("ner").validation)], tmp_path / "out", DataSettings())
    kept, had = (json.loads((folder / "tunny.json").read_text("utf-8")) for folder in (tmp_path / "out", model))
    assert kept.pop("tokenizer") == {**had.pop("tokenizer"), "sha256": digest_file(tmp_path / "out" / "tokenizer.json")}
    assert kept == had
    card, was = ((folder / "README.md").read_text("utf-8") for folder in (tmp_path / "out", model))
    assert card.startswith(was)
    assert "\n## Vocabulary\n\nTrimmed to " in card
    scores = [
        tunny.evaluate(folder, trained("ner").validation, tmp_path / name) for folder, name in ((model, "a"), (tmp_path / "out", "b"))
    ]
    assert scores[0] == scores[1]


def test_exported_variants_and_the_choice_of_one_stay_behind(tmp_path):
    shutil.copytree(trained("ner").model, tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "tunny.json").read_text("utf-8"))
    variants = {"variants": {"int8": {"sha256": "x", "score": 1.0, "drop": 0.0}}, "chosen": {"cpu": "int8"}}
    (tmp_path / "model" / "tunny.json").write_text(json.dumps(facts | variants), "utf-8")
    trim(str(tmp_path / "model"), [str(trained("ner").validation)], tmp_path / "out", DataSettings())
    kept = json.loads((tmp_path / "out" / "tunny.json").read_text("utf-8"))
    assert (kept["variants"], kept["chosen"]) == ({}, {})


# -- what the user can mend --------------------------------------------------------------------------------------------


def test_an_answer_that_would_change_leaves_nothing(tmp_path):
    """RoBERTa counts positions from the number of its padding, which cannot stay where a thousand tokens before it go."""
    vocabulary = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(1100)), "[PAD]"]
    raw = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = save(tmp_path / "model", wrapped(raw), "roberta", pad_token_id=1104, max_position_embeddings=1300)
    with pytest.raises(ModelError, match=r"the answer to language\.txt:1 would change"):
        trimmed(folder, ["word1 word2 word3 word4 word5"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["language.txt", "model"]


def test_what_is_there_already_stays(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, match="out: is there already"):
        trim(str(trained("ner").model), [str(trained("ner").validation)], tmp_path / "out", DataSettings())


def test_data_without_text_are_refused(tmp_path):
    with pytest.raises(DataError, match="the data to trim its vocabulary to has no text"):
        trimmed(save(tmp_path / "model", make_tokenizer("wordpiece-cased")), ["", " "])
    assert not (tmp_path / "trimmed").exists()


def test_a_tokenizer_of_whole_words_is_refused(tmp_path):
    raw = Tokenizer(models.WordLevel({piece: at for at, piece in enumerate([*SPECIAL.values(), "cod"])}, unk_token="[UNK]"))
    with pytest.raises(ModelError, match="expected a WordPiece, Unigram or BPE tokenizer to trim, found WordLevel"):
        trimmed(save(tmp_path / "model", wrapped(raw)), ["cod"])


def test_the_command_says_what_was_done(tmp_path, capsys):
    folder = save(tmp_path / "model", make_tokenizer("wordpiece-cased", 800))
    (tmp_path / "german.txt").write_text("\n".join(SENTENCES[:3]), "utf-8")
    for name, code in (("german.txt", 0), ("none.txt", 2)):
        with pytest.raises(SystemExit) as caught:
            main(["export", str(folder), "--trim-vocabulary", str(tmp_path / name), "--out", str(tmp_path / name.removesuffix(".txt"))])
        assert caught.value.code == code
    said = capsys.readouterr().err
    assert "answers: the same to all 3 texts\nmodel: " in said
    assert "none.txt: no such file" in said


@pytest.mark.slow
def test_the_embedded_model_shrinks_by_a_third_on_germeval_and_answers_the_same(shared_data, tmp_path):
    transformers.set_seed(3)
    encoder = locate("embedded")
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    names = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
    model = transformers.AutoModelForTokenClassification.from_pretrained(encoder, num_labels=5, id2label=names)
    torch.nn.init.normal_(model.classifier.weight, std=1.0)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    data = shared_data / "germeval14" / "dev.tsv"
    trim(str(tmp_path / "model"), [str(data)], tmp_path / "out", DataSettings(tokens="Sentence", tags="Slot"))  # compares every answer
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("out", "model")]
    assert sizes[0] <= 0.7 * sizes[1]
