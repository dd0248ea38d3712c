"""The house rules that no reader should have to check: floors, light imports, small files, links, generated pages."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tunny
from tests.trained import trained
from tunny import model_commands
from tunny.config import FileSettings, settings_markdown
from tunny.engine.settings import EngineSettings
from tunny.hf_arguments import page

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "tunny"
FILES = sorted(SOURCE.rglob("*.py"))
FLOORS = {
    "core": 0, "samples": 0, "data": 1, "metrics": 1, "engine": 2, "tasks": 3, "training": 4, "evaluation": 4, "ship": 5,
    "config": 6, "run": 6, "texts": 6, "own": 6, "seeds": 6, "review": 6, "file_commands": 6, "model_commands": 6, "api": 6,
    "hf_arguments": 6, "hf_scripts": 6, "cli": 7, "__init__": 7, "__main__": 7,
}  # fmt: skip
ONE_ROOM = [
    {"config", "run", "texts", "own", "seeds", "review", "file_commands", "model_commands", "api", "hf_arguments", "hf_scripts"},
    {"cli", "__init__", "__main__"},
]  # files at the top that stand on one floor together
HEAVY = {"torch", "transformers"}
TEXTS = ["", "Marie Curie worked in Paris", "Marie Curie worked in Paris and in Bergen the auction was sold " * 20]  # of several windows


def room(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports anywhere, inside functions too; of `from a import b` it is `a.b`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_of(names: Iterator[str]) -> set[str]:
    """Return the rooms among imported names; the version may be asked for anywhere."""
    ours = (name.split(".") for name in names if name.split(".")[0] == "tunny")
    return {parts[1] if len(parts) > 1 else "__init__" for parts in ours}


def named(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


files = pytest.mark.parametrize("path", FILES, ids=named)


def test_every_room_has_its_floor():
    assert {room(path.relative_to(SOURCE).parts) for path in FILES} == set(FLOORS)


@files
def test_imports_only_go_down(path):
    own = room(path.relative_to(SOURCE).parts)
    beside = {own}.union(*(rooms for rooms in ONE_ROOM if own in rooms))
    wrong = {other for other in rooms_of(imports(path)) - beside if FLOORS[other] >= FLOORS[own]}
    assert not wrong, f"{named(path)} is on floor {FLOORS[own]} and imports {wrong}"


def test_readers_are_imported_only_by_data():
    users = {room(path.relative_to(SOURCE).parts) for path in FILES if any(name.startswith("tunny.data.readers") for name in imports(path))}
    assert users == {"data"}


@pytest.mark.parametrize("name", ["core", "data", "metrics"])
def test_the_lower_rooms_never_import_torch_or_transformers(name):
    found = {named(path): names for path in (SOURCE / name).rglob("*.py") if (names := HEAVY & {i.split(".")[0] for i in imports(path)})}
    assert found == {}


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py" and path.parent != SOURCE], ids=named)
def test_rooms_have_an_empty_init(path):
    assert path.read_bytes() == b""


@files
def test_files_are_small(path):
    assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", [path for path in FILES if path.stat().st_size], ids=named)
def test_files_say_what_they_decide(path):
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_importing_tunny_data_and_metrics_loads_neither_torch_nor_transformers():
    light = [path for path in FILES if room(path.relative_to(SOURCE).parts) in ("core", "data", "metrics", "config", "cli", "__init__")]
    modules = [".".join(["tunny", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__") for path in light]
    code = f"import sys, importlib\nfor name in {modules!r}: importlib.import_module(name)\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


NO_TORCH = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = shutil.copytree(trained("ner").model, tmp_path_factory.mktemp("exported") / "model")
    model_commands.export(str(folder), "onnx", [], [], 0.5, FileSettings())
    return folder


def without_torch(code: str) -> subprocess.CompletedProcess[str]:
    """Run code where torch and transformers cannot be imported."""
    return subprocess.run([sys.executable, "-c", NO_TORCH + code], capture_output=True, text=True, check=False)


def test_an_exported_model_answers_without_torch_and_transformers(exported):
    code = f"""
import json
import tunny
from tunny.engine.settings import EngineSettings
print(json.dumps(tunny.load({str(exported)!r}, engine=EngineSettings(variant="fp32")).predict({TEXTS!r})))
"""
    done = without_torch(code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == tunny.load(exported, engine=EngineSettings(variant="fp32")).predict(TEXTS)


def test_a_model_that_was_not_exported_says_what_to_install(exported):
    done = without_torch(f"import tunny\ntunny.load({str(exported)!r})")
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"tunny\.core\.errors\.ModelError: .*model: needs (torch|transformers) to answer, as no exported variant was chosen \(tunny bench\) or "
        r"named \(engine\.variant\); exported are: fp32, openvino\. pip install torch transformers, or name a variant\.",
        last,
    ), done.stderr


def test_a_command_that_needs_torch_says_so_in_one_line():
    done = without_torch("from tunny.cli import main\nmain(['train', '--data.train', 'nowhere.conll'])")
    assert (done.returncode, done.stderr) == (
        2, "error: this command needs the package torch, which is not installed: pip install torch transformers\n"
    )  # fmt: skip


@pytest.mark.parametrize("name", tunny.__all__)
def test_every_public_name_is_there_and_explained(name):
    assert (getattr(tunny, name).__doc__ or "").strip()


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'tunny' has no attribute 'trian'"):
        _ = tunny.trian


def test_the_page_of_the_scripts_is_what_their_table_says():
    assert (ROOT / "docs" / "hf-scripts.md").read_text("utf-8") == page(), "run `make docs`"


def test_the_page_of_settings_is_what_the_settings_say():
    assert (ROOT / "docs" / "config.md").read_text("utf-8") == settings_markdown(), "run `make docs`"


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8"))
    missing = [target for target in targets if "://" not in target and not (path.parent / target.partition("#")[0]).exists()]
    assert missing == []
