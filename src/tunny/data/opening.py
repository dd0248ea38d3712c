"""Opening files as people have them: packed with gzip, zip or zstd, and in an encoding that is found and said.

Encodings: a byte order mark or the pattern of UTF-16 decides; else UTF-8 where every byte of the file fits it. What does not fit
is UTF-8 with damage where most of its special bytes do, and otherwise an older encoding, which can only be guessed: the
guess is an event of the audit. Finding costs one pass over the file.
"""

import codecs
import contextlib
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, TextIO

import pyarrow as pa

from tunny.core.errors import DataError, did_you_mean

BLOCK = 1 << 20
LOOKED_AT = 16 * BLOCK  # bytes of lines that are no ASCII, by which an encoding is told
ESCAPE = "tunny.escape"  # for open_text: keep bytes that cannot be decoded as half surrogates
PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}
FOREIGN = {b"BZh91AY": "bzip2", b"\xfd7zXZ\x00": "xz", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"PK\x05\x06": "an empty zip"}
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
          codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_ASCII = bytes(range(128))
_OLDER = [  # what files were written in before UTF-8; guesses at the rarer ones are nearly always wrong
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "cp866", "koi8_r"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
]
_SIGNS = re.compile(r"\ufffd|(?<=[^\W\d_])[\u0080-\u00bf\u00d7\u00f7](?=[^\W\d_])")  # no letter, but inside a word
_WHOLE = re.compile(rb"[\x00-/]")  # bytes that are no part of a longer character, in any encoding


class Encoding(NamedTuple):
    """An encoding with the reason; `guessed` where nothing in the file proves it."""

    name: str
    reason: str
    guessed: bool = False


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, or a member of a zip archive named `ARCHIVE.zip/MEMBER`, unpacked; raise DataError where it is damaged."""
    archive, name = _parted(path)
    try:
        with contextlib.ExitStack() as stack:
            file: Any = stack.enter_context(archive.open("rb"))
            head = file.read(8)
            file.seek(0)
            kind = packing(head)
            if name or kind == "zip":
                name = name or members(path)[0]
                try:
                    file = stack.enter_context(stack.enter_context(zipfile.ZipFile(archive)).open(name))
                except RuntimeError as error:  # a password, or a way of packing that Python does not know
                    advice = "Unpack it, or pack it anew without a password."
                    raise DataError(f"{archive}: {name!r} cannot be unpacked: {error}. {advice}") from error
            elif kind is not None:
                file = stack.enter_context(io.BufferedReader(pa.input_stream(str(path), compression=kind), BLOCK))
            elif foreign := next((name for mark, name in FOREIGN.items() if head.startswith(mark)), None):
                what = f"perhaps packed with gzip, zip or zstd; this is {foreign}"
                raise DataError(f"{path}: expected text, {what}. Unpack it or pack it anew.")
            yield file
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's; Arrow's of a broken file have no number
            raise
        raise _damaged(path, error) from error


def _parted(path: Path) -> tuple[Path, str]:
    """Return an archive and the name of its member, or the path itself and ""."""
    archive = next((parent for parent in path.parents if parent.is_file()), path)
    return archive, "" if archive == path else str(path.relative_to(archive))


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Decode bytes that an encoding does not have to U+DC00 and up, as Python's surrogateescape, but those below 128 too."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(ESCAPE, _escape)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: the packed file is damaged or not whole: {error}. Make or fetch it anew.")


@contextlib.contextmanager
def open_text(path: Path, encoding: str, errors: str = "strict", newline: str = "\n") -> Iterator[TextIO]:
    r"""Open a file as text; only \n ends a line, and \r stays where it is."""
    with open_bytes(path) as file, io.TextIOWrapper(file, encoding, errors, newline=newline) as text:
        yield text


def packing(head: bytes) -> str | None:
    """Return how a file is packed by its first bytes: gzip, zip, zstd or None."""
    return next((kind for mark, kind in PACKED.items() if head.startswith(mark)), None)


def members(path: Path) -> list[str]:
    """Return the files in a zip archive; folders and the hidden ones of archivers are none."""
    try:
        with zipfile.ZipFile(path) as packed:
            names = [name for name in packed.namelist() if not name.endswith("/")]
    except zipfile.BadZipFile as error:
        raise _damaged(path, error) from error
    if "[Content_Types].xml" in names:
        raise DataError(f"{path}: expected text, found an office document. Save its table as CSV (UTF-8).")
    found = [name for name in names if not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")]
    if not found:
        raise DataError(f"{path}: the archive holds no file")
    return found


def member_of(path: Path) -> Path | None:
    """Return the path of a member `ARCHIVE.zip/MEMBER` where it is one; raise DataError for a member that is not there."""
    archive, name = _parted(path)
    if not name or not zipfile.is_zipfile(archive):
        return None
    there = members(archive)
    if name not in there:
        raise DataError(f"{archive}: holds no file {name!r}; there are: {', '.join(there[:10])}{did_you_mean(name, there)}")
    return path


def digest(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes, unpacked."""
    with open_bytes(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def find_encoding(path: Path, wanted: str) -> Encoding:
    """Return the encoding of a file: the one that is wanted, or for `auto` the one that is found."""
    name = wanted if wanted == "auto" else codecs.lookup(wanted).name
    if name not in {"auto", "utf-16", "utf-32"}:
        return Encoding("utf-8-sig" if name == "utf-8" else wanted, "data.encoding says so")
    with open_bytes(path) as file:
        head = file.read(1 << 12)
    if head[257:262] == b"ustar":
        raise DataError(f"{path}: expected text, found a tar archive. Unpack it, or pack its files with zip.")
    marked = next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)
    if name != "auto":
        return Encoding(name if marked == name else f"{name}-be" if _zeros(head) == "utf-16-be" else f"{name}-le", "data.encoding says so")
    if marked is not None:
        return Encoding(marked, "it starts with a byte order mark")
    halves = _zeros(head)
    return Encoding(halves, "many bytes are 0, only ever the same half of a pair") if halves else _by_bytes(path)


def _zeros(head: bytes) -> str | None:
    """Return which UTF-16 a head without a mark is in: its blanks, digits and ends of lines have one half that is 0."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < max(3, len(head) // 64, 1.5 * min(even, odd)):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _cut(text: bytes, size: int) -> bytes:
    """Return about so many bytes, ending with a whole character: half of one fits no encoding."""
    end = _WHOLE.search(text, size)
    return text[: end.start()] if end else text


def _by_bytes(path: Path) -> Encoding:
    with open_bytes(path) as file, contextlib.suppress(UnicodeDecodeError):
        for _ in codecs.iterdecode(iter(lambda: file.read(BLOCK), b""), "utf-8"):
            pass
        return Encoding("utf-8-sig", "every byte fits it")
    lines = bytearray()
    with open_bytes(path) as file:
        for line in file:
            lines += b"" if line.isascii() else line
            if len(lines) > LOOKED_AT:
                break
    special = _cut(bytes(lines), LOOKED_AT)
    rest, good = _MULTIBYTE.subn(b"", special)
    bad = len(rest.translate(None, _ASCII))
    if good >= bad:
        return Encoding("utf-8-sig", f"{good} characters fit it, {bad} bytes do not")
    from charset_normalizer import from_bytes

    best = from_bytes(_cut(special, BLOCK), cp_isolation=_OLDER).best()
    western = special.decode("cp1252", "replace")
    # Western European, unless that gives other alphabets' letters or signs inside words.
    letters = [letter for letter in (str(best) if best else western)[:100_000] if letter.isalpha() and letter > "\x7f"]
    latin = sum(letter < "\u0250" for letter in letters) >= len(letters) / 2
    if best is None or len(letters) < 5 or (latin and 20 * len(_SIGNS.findall(western)) < len(letters)):
        name = "latin-1" if "\ufffd" in western else "cp1252"
    else:
        name = best.encoding.replace("_", "-")
    return Encoding(name, "no UTF-8; a guess by its letters", guessed=True)
