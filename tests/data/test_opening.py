import gzip
import io
import random
import tarfile
import tracemalloc
import zipfile

import pyarrow as pa
import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import DataError
from tunny.data.opening import digest, find_encoding, open_bytes, open_text

ROWS = "text,label\n" + "fair wind,good\nrough sea,bad\n" * 500
LABELS = [("good",), ("bad",)] * 500


def zstd(text):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(text.encode())
    return sink.getvalue().to_pybytes()


def zipped(**members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_csv", ".csv"), content)
    return packed.getvalue()


PACKED = {
    "a.csv.gz": gzip.compress(ROWS.encode()),
    "several parts.csv.gz": gzip.compress(ROWS[:20].encode()) + gzip.compress(ROWS[20:].encode()),
    "a.csv.zst": zstd(ROWS),
    "several frames.csv.zst": zstd(ROWS[:20]) + zstd(ROWS[20:]),
    "a.csv.zip": zipped(a_csv=ROWS),
    "with what archivers add.zip": zipped(**{"data__a_csv": ROWS, "__MACOSX__._a_csv": "x", "data__.hidden": "x"}),
    "without an ending": gzip.compress(ROWS.encode()),
}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
def test_packed_files_are_read_as_they_are(name, tmp_path):
    found = Reading(written(tmp_path, name, PACKED[name]), "classify", format="csv")
    assert [example.labels for example in found] == LABELS


@pytest.mark.parametrize("name", [name for name in PACKED if "." in name])
def test_the_format_of_a_packed_file_is_found(name, tmp_path):
    assert len(Reading(written(tmp_path, name, PACKED[name]), "classify")) == 1_000


@pytest.mark.parametrize("name", PACKED)
def test_the_digest_is_that_of_the_content(name, tmp_path):
    if "zip" not in name:
        assert digest(written(tmp_path, name, PACKED[name])) == digest(written(tmp_path, "plain", ROWS))


@pytest.mark.parametrize("name", [name for name in PACKED if "several" not in name])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_packed_file_that_is_not_whole_is_refused(name, share, tmp_path):
    path = written(tmp_path, name, PACKED[name][: int(len(PACKED[name]) * share)])
    for on_error in ("stop", "quarantine"):
        with pytest.raises(DataError, match=r"the packed file is damaged or not whole: .* Make or fetch it anew"):
            Reading(path, "classify", format="csv", on_error=on_error)


def test_a_damaged_byte_is_found_by_the_sum_of_gzip_and_zip(tmp_path):
    for name in ("a.csv.gz", "a.csv.zip"):
        raw = bytearray(PACKED[name])
        raw[len(raw) // 2] ^= 0xFF
        with pytest.raises(DataError, match="the packed file is damaged or not whole"):
            Reading(written(tmp_path, name, bytes(raw)), "classify")


def test_of_several_files_in_an_archive_one_must_be_named(tmp_path):
    path = written(tmp_path, "a.zip", zipped(train_csv=ROWS, sub__test_csv=ROWS[:26]))
    with pytest.raises(DataError, match=r"a\.zip: holds 2 files\. Name one of them: .*a\.zip/train\.csv, .*a\.zip/sub/test\.csv"):
        Reading(path, "classify")
    assert len(Reading(path / "sub" / "test.csv", "classify")) == 1
    with pytest.raises(DataError, match=r"a\.zip: holds no file 'tset\.csv'; there are: train\.csv, sub/test\.csv; did you mean"):
        Reading(path / "tset.csv", "classify")


def test_an_archive_without_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.zip: the archive holds no file"):
        Reading(written(tmp_path, "a.zip", zipped(**{"__MACOSX__._a_csv": "x"})), "classify")


def test_a_member_with_a_password_is_refused(tmp_path):
    raw = bytearray(zipped(a_csv=ROWS))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(mark) + offset] |= 1  # the flag of encrypted members
    with pytest.raises(DataError, match=r"a\.zip: 'a\.csv' cannot be unpacked: .*password"):
        Reading(written(tmp_path, "a.zip", bytes(raw)), "classify")


def tarred():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("a.csv")
        entry.size = len(ROWS)
        archive.addfile(entry, io.BytesIO(ROWS.encode()))
    return packed.getvalue()


FOREIGN = {
    "a.xlsx": (zipped(**{"[Content_Types].xml": "x", "xl__workbook.xml": "x"}), "found an office document. Save its table as CSV"),
    "a.csv.bz2": (b"BZh91AY&SY" + b"x" * 20, "this is bzip2. Unpack it"),
    "a.csv.xz": (b"\xfd7zXZ\x00" + b"x" * 20, "this is xz. Unpack it"),
    "a.tar.gz": (tarred(), "found a tar archive. Unpack it"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_cannot_be_unpacked_is_named(name, tmp_path):
    content, message = FOREIGN[name]
    with pytest.raises(DataError, match=message):
        Reading(written(tmp_path, name, content), "classify")


# -- encodings ---------------------------------------------------------------------------------------------------------

GERMAN = "text,label\nZürich ist schön,gut\nKöln hat Ärger,böse\n"
RUSSIAN = "text,label\n" + "".join(
    f"{text},хорошо\n" for text in ("Анна приехала в Осло вчера", "Сегодня холодная погода", "Завтра мы поедем домой")
)
JAPANESE = "text,label\n" + "".join(
    f"{text},良い\n" for text in ("昨日の夜、東京に着きました。", "天気がとてもよかったです。", "明日は京都へ行きます。")
)
ENCODED = [  # text, how it is written, the encoding that is found
    (GERMAN, "utf-8", "utf-8-sig"), (GERMAN, "utf-8-sig", "utf-8-sig"), (GERMAN, "utf-16", "utf-16"), (GERMAN, "utf-32", "utf-32"),
    (GERMAN, "utf-16-le", "utf-16-le"), (GERMAN, "utf-16-be", "utf-16-be"), (GERMAN, "latin-1", "cp1252"), (GERMAN, "cp1252", "cp1252"),
    (RUSSIAN, "utf-16-le", "utf-16-le"), (RUSSIAN, "utf-16-be", "utf-16-be"), (RUSSIAN, "cp1251", "cp1251"), (RUSSIAN, "koi8-r", "koi8-r"),
    (JAPANESE, "utf-16-le", "utf-16-le"), (JAPANESE, "utf-16-be", "utf-16-be"), (JAPANESE, "cp932", "cp932"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "encoding", "expected"), ENCODED)
def test_encodings_are_found(text, encoding, expected, tmp_path):
    path = written(tmp_path, "a.csv", text, encoding)
    assert find_encoding(path, "auto").name == expected
    assert [example.text for example in Reading(path, "classify")] == [line.split(",")[0] for line in text.splitlines()[1:]]


@pytest.mark.parametrize(("encoding", "guessed"), [("cp1251", 1), ("utf-16-le", 0), ("utf-8", 0)])
def test_a_guess_is_counted_and_what_is_proved_only_said(encoding, guessed, tmp_path):
    found = Reading(written(tmp_path, "a.csv", RUSSIAN, encoding), "classify")
    assert found.audit.counts["encodings guessed"] == guessed
    assert any(f"encoding {encoding}" in note for note in found.audit.notes) == (encoding == "utf-16-le")


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf_16", "utf-16", "cp1252", "latin-1"])
def test_a_wanted_encoding_is_taken_with_and_without_a_mark(encoding, tmp_path):
    assert len(Reading(written(tmp_path, "a.csv", GERMAN, encoding), "classify", encoding=encoding)) == 2
    for order in ("utf-16-le", "utf-16-be"):
        assert len(Reading(written(tmp_path, "a.csv", GERMAN, order), "classify", encoding="utf-16")) == 2


def test_half_a_character_at_the_end_of_the_sample_spoils_no_guess(tmp_path):
    row = "昨日の夜東京に着きました,良い\n"
    path = written(tmp_path, "a.csv", "text,label\n" + row * 70_000, "cp932")
    assert find_encoding(path, "auto").name == "cp932"


def test_signs_inside_words_are_no_western_text(tmp_path):
    polish = "text,label\nWczoraj wieczorem Anna przyjechała do Gdańska,dobrze\nDziś jest zimno i pada śnieg,źle\nJutro pojedziemy do domu łódką,dobrze\n"
    assert find_encoding(written(tmp_path, "a.csv", polish, "cp1250"), "auto").name == "cp1250"


DAMAGED = b"text,label\n" + "Zürich,gut\n".encode() * 20 + b"K\xffln,gut\n" + "Größe,gut\n".encode() * 20


def test_a_bad_byte_in_utf_8_is_an_error_with_its_line(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:22: expected utf-8 text, found byte 0xff\. Set data\.encoding"):
        Reading(written(tmp_path, "a.csv", DAMAGED), "classify")


@pytest.mark.parametrize("file", ["a.csv", "a.tsv", "a.jsonl", "a.conll"])
def test_quarantine_drops_the_row_with_the_bad_byte_only(file, tmp_path):
    rows = {
        "a.csv": DAMAGED, "a.tsv": DAMAGED.replace(b",", b"\t"),
        "a.jsonl": b"\n" + b"\n".join(b'{"text": "' + line.replace(b",", b'", "label": "') + b'"}' for line in DAMAGED.split(b"\n")[1:-1]),
        "a.conll": b"w\tO\n\n" + b"\n".join(line.replace(b",gut", b"\tB-LOC\n") for line in DAMAGED.split(b"\n")[1:]),
    }  # fmt: skip
    found = Reading(written(tmp_path, file, rows[file]), "ner" if file == "a.conll" else "classify", on_error="quarantine")
    assert sum(example.text in ("Zürich", "Größe") for example in found) == 40
    assert [(reason) for _, _, reason in found.audit.rejected] == ["expected utf-8 text, found byte 0xff"]


def test_half_a_pair_of_bytes_at_the_end_is_one_bad_row(tmp_path):
    found = Reading(written(tmp_path, "a.csv", GERMAN.encode("utf-16") + b"x"), "classify", on_error="quarantine")
    assert (len(found), len(found.audit.rejected)) == (2, 1)


def test_only_a_line_feed_ends_a_line(tmp_path):
    with open_text(written(tmp_path, "a", "one\rtwo\r\nthree\u2028four\x0bfive\n"), "utf-8") as file:
        assert list(file) == ["one\rtwo\r\n", "three\u2028four\x0bfive\n"]


def test_a_large_file_is_unpacked_as_it_is_read(tmp_path):
    path = written(tmp_path, "a.gz", gzip.compress(random.Random(1).randbytes(1 << 20) * 16, 1))
    tracemalloc.start()
    with open_bytes(path) as file:
        total = sum(len(block) for block in iter(lambda: file.read(1 << 16), b""))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (total, peak < 4 << 20) == (16 << 20, True)
