"""The Hub, as huggingface_hub speaks to it: fetching models and pushing them. Data sets are read by `data/readers/hub.py`.

What is in the cache needs no network. A push is one commit: nobody sees half of it, and what went up before a connection broke is not
sent again. Of a folder only the files that make a model go up. The token is taken from HF_TOKEN or `.env`, and written nowhere.
"""

import contextlib
import fnmatch
import logging
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tunny.core.console import say
from tunny.core.errors import HubError, ModelError, TunnyError
from tunny.core.settings import read_environment

PLACE = re.compile(r"[\w.-]+/[\w.-]+")  # for a model
NAME = re.compile(r"(?:hub:)?(?P<repo>[^@#:\s]+)(?:@(?P<revision>[^@\s]+))?")  # of a model
REQUIRED = ("config.json", "tokenizer.json", "model*.safetensors")
PUSHED = (
    *REQUIRED, "tokenizer_config.json", "special_tokens_map.json", "vocab.*", "merges.txt", "*.model", "model.safetensors.index.json",
    "README.md", "LICENSE", "tunny.json", "onnx/*.onnx", "onnx/*.onnx.data",
)  # fmt: skip
_FILES = ["*.json", "*.txt", "*.model", "README.md"]  # what is fetched beside weights


def token() -> str | None:
    """Return HF_TOKEN of the environment or `.env`; None leaves it to what `hf auth login` kept."""
    return read_environment(Path()).get("HF_TOKEN") or None


def library() -> Any:
    """Return huggingface_hub, which then reports nothing to anybody, and draws only on a terminal."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        disable_progress_bars()
    return huggingface_hub


def fetch(name: str, revision: str | None = None, *, weights: bool = True) -> str:
    """Return the folder in the cache with a model's files, `OWNER/NAME[@REVISION]`, and get there what is not in it."""
    found = NAME.fullmatch(name)
    if found is None:
        raise HubError(f"{name}: expected a model's name on the Hub as OWNER/NAME[@REVISION]")
    if revision is not None and found["revision"] not in (None, revision):
        raise HubError(f"{name}: model.revision names another one, {revision}. Leave one of them out.")
    revision = found["revision"] or revision
    with _explained(f"{found['repo']}{f'@{revision}' if revision else ''}") as hub:
        get = partial(hub.snapshot_download, found["repo"], revision=revision, token=token(), ignore_patterns=["*/*"])
        folder: str = get(allow_patterns=[*_FILES, *["model*.safetensors"][:weights]])
        if weights and not any(Path(folder).glob("*.safetensors")):
            folder = get(allow_patterns=[*_FILES, "pytorch_model*.bin"])
        return folder


def create(repo: str, *, public: bool = False, update: bool = False) -> None:
    """Make a place for a model, private unless `public`; one that holds files already is refused unless it is to be updated."""
    if not PLACE.fullmatch(repo):
        raise HubError(f"{repo}: expected a place on the Hub as OWNER/NAME")
    with _explained(repo) as hub:
        api = hub.HfApi(token=token())
        if not (token() or hub.get_token()):
            raise HubError(f"{repo}: pushing needs a token that may write. Set HF_TOKEN in the environment or in .env.")
        try:
            api.create_repo(repo, private=not public)
        except hub.errors.HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            if not update and set(api.list_repo_files(repo)) - {".gitattributes"}:  # else a push broke before its commit
                raise HubError(f"{repo}: this name is taken. Choose another, or update what is there with --update.") from error


def require_model(folder: Path) -> None:
    """Raise ModelError unless a folder has the files without which it is no model."""
    missing = [pattern for pattern in REQUIRED if not any(folder.glob(pattern))]
    if missing:
        raise ModelError(f"{folder}: expected a model folder, found no {', '.join(missing)}.{inner_model(folder)}")


def inner_model(folder: Path) -> str:
    """Return a guess at what is meant by the folder of a run, whose model is in it; of another folder none."""
    inner = next((one for name in ("model", "seed-*/model") for one in sorted(folder.glob(name)) if (one / "config.json").is_file()), None)
    return f" Did you mean {inner}?" if inner else ""


def upload(folder: Path, repo: str, message: str) -> str:
    """Commit a model folder to a place that was created, in place of the model there, and return the commit's address."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    left = [name for name in paths if not _is_part(name)]
    if left:
        say(f"not pushed, as no part of a model: {', '.join(left)}")
    with _explained(repo) as hub:
        api = hub.HfApi(token=token())
        old = [name for name in api.list_repo_files(repo) if _is_part(name) and name not in paths]
        changes = [hub.CommitOperationAdd(name, path) for name, path in paths.items() if _is_part(name)]
        done = api.create_commit(repo, [*changes, *(hub.CommitOperationDelete(name) for name in old)], commit_message=message)
        return str(done.commit_url)


def _is_part(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in PUSHED)


@contextlib.contextmanager
def _explained(repo: str) -> Iterator[Any]:
    """Yield the library, and turn whatever it and the network raise into a HubError."""
    hub = library()
    try:
        yield hub
    except TunnyError:
        raise
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        said = " ".join(str(error).split())
        broken = "; ".join(str(each).strip().partition("\n")[0] or type(each).__name__ for each in (error, error.__cause__) if each)
        reasons = [
            (isinstance(error, hub.errors.RevisionNotFoundError), "the Hub has no such revision of it."),
            (isinstance(error, hub.errors.RepositoryNotFoundError), "the Hub has none of this name, or it is private and HF_TOKEN may not see it."),
            (isinstance(error, hub.errors.LocalEntryNotFoundError), "it is not whole in the cache, and the Hub cannot be reached."),
            (status == 401, "the Hub does not take the token. Set HF_TOKEN to one that is valid."),
            (status == 403, "the token may not write there. Set HF_TOKEN to one with write access, or choose another OWNER."),
            (status is None and not isinstance(error, ValueError), f"the connection to the Hub broke ({broken}). Try again: what has arrived is not sent twice."),
        ]  # fmt: skip
        raise HubError(f"{repo}: {next((reason for holds, reason in reasons if holds), said)}") from error
