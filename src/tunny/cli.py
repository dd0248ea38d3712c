"""The command line: parts settings from a command's own options, runs it, and turns errors into exit codes.

Heavy imports happen only after parsing, so that `--help` answers at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tunny.core.console import silence
from tunny.core.errors import ConfigError, Stopped, TunnyError
from tunny.core.version import __version__, versions

app = typer.Typer(name="tunny", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Flags = list[tuple[str, str | None]]
_flags: Flags = []
TOGETHER = ("train", "distill", "run-ner", "run-glue")  # commands that processes can share

Config = Annotated[str | None, typer.Argument(help="config file (YAML)", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="go on from the newest whole checkpoint")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="start again in a folder that holds a run")]
Input = Annotated[str, typer.Argument(metavar="INPUT", help="a file of any readable format, plain text lines, or -", show_default=False)]
Model = Annotated[str, typer.Argument(help="model folder, or Hub id", show_default=False)]


@app.callback(invoke_without_command=True)
def start(context: typer.Context, version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    """From labelled text to a tagger or classifier that you can trust.

    Every setting is also a flag: --section.key value. `tunny config` lists them.
    """
    if version:
        print(f"tunny {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def train(config: Config = None, resume: Resume = False, overwrite: Overwrite = False) -> None:
    """Prepare what is missing, train, evaluate, and leave a run folder."""
    from tunny import seeds
    from tunny.config import load_config

    seeds.train(load_config(config, _flags), resume=resume, overwrite=overwrite)


@app.command()
def distill(config: Config = None, resume: Resume = False, overwrite: Overwrite = False) -> None:
    """Train a smaller model on the answers of a larger one: `train` with a `distill` section."""
    from tunny import seeds
    from tunny.config import load_config

    seeds.train(load_config(config, _flags, {"distill": {}}), resume=resume, overwrite=overwrite)


@app.command(context_settings={"allow_interspersed_args": False})
def launch(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="a command of tunny with all it takes", show_default=False)],
    processes: Annotated[int, typer.Option("-n", min=1, help="processes, on a machine with GPUs at most one a GPU")],
    max_restarts: Annotated[int, typer.Option("--max-restarts", min=0, help="times that a training goes on after a process died")] = 0,
) -> None:
    """Run a command in several processes of this machine, which train together."""
    from tunny.engine.launch import launch

    raise typer.Exit(launch(processes, command, max_restarts))


@app.command()
def prepare(config: Config = None) -> None:
    """Read, audit and encode the data of a config without training."""
    from tunny import run
    from tunny.config import load_config

    run.prepare(load_config(config, _flags))


@app.command()
def evaluate(
    model: Model,
    data: Annotated[list[str], typer.Argument(help="labelled files", show_default=False)],
    out: Annotated[str, typer.Option("--out", help="folder for metrics.json, predictions.jsonl, report.md and report.html")],
    layout: Annotated[str | None, typer.Option("--layout", help="write the files of another tool too: metaextractor")] = None,
) -> None:
    """Score a model folder on labelled data."""
    from tunny import config, model_commands

    model_commands.evaluate(model, data, out, config.load_file_settings(_flags, own=True), layout)


@app.command()
def predict(
    model: Model,
    source: Input,
    out: Annotated[str, typer.Option("--out", help="file for the predictions, or -")] = "-",
    to: Annotated[str | None, typer.Option("--to", help="jsonl, csv, conll, parquet or label-studio; else by the ending of --out")] = None,
) -> None:
    """Label texts with a trained model."""
    from tunny import config, model_commands

    model_commands.predict(model, source, out, to, config.load_file_settings(_flags, own=True))


@app.command()
def compare(
    evaluations: Annotated[list[str], typer.Argument(metavar="RUN_A RUN_B...", help="run or evaluation folders", show_default=False)],
    part: Annotated[
        str | None, typer.Option("--on", help="part of a run: test, validation, validation/NAME; else the first there is")
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="file for an HTML page")] = None,
) -> None:
    """Compare runs: scores with significance, settings, examples that became right or wrong."""
    from tunny import file_commands

    file_commands.compare(evaluations, part, out)


Scored = Annotated[list[str] | None, typer.Option("--data", help="labelled file to score each variant on; may be given again")]
MaxDrop = Annotated[float, typer.Option("--max-drop", min=0.0, help="points of 100 that a variant may lose against torch")]


@app.command()
def export(
    model: Model,
    to: Annotated[str, typer.Option("--to", help="onnx: files in the model's folder")] = "onnx",
    fp16: Annotated[bool, typer.Option("--fp16", help="half-precision variant, for GPUs")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit variant, for CPUs")] = False,
    data: Scored = None,
    max_drop: MaxDrop = 0.5,
    language: Annotated[
        list[str] | None,
        typer.Option("--trim-vocabulary", metavar="DATA", help="instead, write the model with the vocabulary of these files"),
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="with --trim-vocabulary: folder for the new model")] = None,
) -> None:
    """Write a model as ONNX files, each compared with it, scored, and refused where it loses too much; or one of fewer tokens."""
    from tunny import config, model_commands

    if language or out:
        model_commands.trim(model, language or [], out, config.load_file_settings(_flags))
        return
    wanted = [name for name, asked in (("fp16", fp16), ("int8", int8)) if asked]
    model_commands.export(model, to, wanted, data or [], max_drop, config.load_file_settings(_flags))


@app.command()
def bench(model: Model, data: Scored = None, max_drop: MaxDrop = 0.5) -> None:
    """Measure a model's exported variants here and choose the fastest within the allowed drop."""
    from tunny import config, model_commands

    model_commands.bench(model, data or [], max_drop, config.load_file_settings(_flags))


@app.command()
def push(
    model: Annotated[str, typer.Argument(help="model folder", show_default=False)],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="let everybody see a new place; else it is private")] = False,
    update: Annotated[bool, typer.Option("--update", help="put it in place of a model that is there")] = False,
) -> None:
    """Put a model folder on the Hub, private unless told otherwise. The token is taken from HF_TOKEN or .env."""
    from tunny import model_commands

    model_commands.push(model, repo, public=public, update=update)


Script = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command("run-ner", context_settings=Script)
def run_ner(context: typer.Context) -> None:
    """Take the arguments of Hugging Face's run_ner.py or run_ner_no_trainer.py, or a JSON file of them, and leave the same files.

    What becomes of each stands in docs/hf-scripts.md; settings (--section.key value) may stand beside them.
    """
    from tunny import hf_scripts

    hf_scripts.run_ner(context.args, _flags)


@app.command("run-glue", context_settings=Script)
def run_glue(context: typer.Context) -> None:
    """Take the arguments of Hugging Face's run_glue.py, or a JSON file of them, and leave the same files.

    What becomes of each stands in docs/hf-scripts.md; settings (--section.key value) may stand beside them.
    """
    from tunny import hf_scripts

    hf_scripts.run_glue(context.args, _flags)


Source = Annotated[str, typer.Argument(help="a labelled file, folder, glob or hub: name", show_default=False)]


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="CONFIG | FILE...", help="a config, or labelled files", show_default=False)],
    out: Annotated[str, typer.Option("--out", help="folder for audit.json, check.html and quarantine.jsonl")] = "check",
    strict: Annotated[bool, typer.Option("--strict", help="exit with 2 where anything had to be left out")] = False,
    fix: Annotated[str | None, typer.Option("--fix", help="folder for the data without copies and with repaired spans")] = None,
    with_model: Annotated[str | None, typer.Option("--with-model", help="model whose doubts about labels are listed")] = None,
    folds: Annotated[int | None, typer.Option("--folds", min=2, help="the same, of models that learn from all parts but one")] = None,
    review: Annotated[str | None, typer.Option("--review", help="file for doubted rows, as tasks of Label Studio")] = None,
) -> None:
    """Audit labelled data: counts, labels, misfits, duplicates, leakage, lengths; with a model, the labels that it doubts."""
    from tunny import config, file_commands

    is_config = len(files) == 1 and Path(files[0]).suffix.lower() in (".yaml", ".yml")
    given = config.load_config(files[0], _flags, own=False) if is_config else config.load_file_settings(_flags)
    file_commands.check(files, given, out, strict=strict, fix=fix, with_model=with_model, folds=folds, review=review)


@app.command()
def split(
    source: Source,
    out: Annotated[str, typer.Option("--out", help="folder for train, validation, test and split.json")],
    ratios: Annotated[tuple[float, float, float], typer.Option("--ratios", help="shares of train, validation, test")] = (0.7, 0.15, 0.15),
    group_by: Annotated[str | None, typer.Option("--group-by", help="column or key of the document (data.group_by)")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="the same number gives the same split")] = 42,
) -> None:
    """Deal labelled rows to train, validation and test: by document, stratified, the same on every machine."""
    from tunny import config, file_commands

    flags = [*_flags, *([("data.group_by", group_by)] if group_by is not None else [])]
    file_commands.split(source, out, ratios, seed, config.load_file_settings(flags))


@app.command()
def convert(
    source: Source,
    to: Annotated[str, typer.Option("--to", help="conll, conllu, jsonl, json, csv, tsv, parquet, label-studio, spans or text")],
    out: Annotated[str, typer.Option("--out", help="file for the result, or -")],
) -> None:
    """Write labelled data in another format, and say what that format cannot hold."""
    from tunny import config, file_commands

    file_commands.convert(source, to, out, config.load_file_settings(_flags))


@app.command()
def init(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="folder for config.yaml", show_default=False)],
    data: Annotated[list[str], typer.Option("--data", help="labelled files; more may follow")],
    more: Annotated[list[str] | None, typer.Argument(metavar="FILE...", help="more files", show_default=False)] = None,
) -> None:
    """Look at labelled files and write a commented config that fits them."""
    from tunny import config, file_commands

    print(file_commands.init(folder, [*data, *(more or [])], config.load_file_settings(_flags)))


@app.command("config")
def show_config(
    config: Config = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON schema, for editors")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="print docs/config.md")] = False,
) -> None:
    """List every setting with its type, default and meaning; with a file, print the resolved config, or its schema or page."""
    import json

    from tunny import config as settings

    resolved = settings.load_config(config, _flags) if config is not None or _flags else None
    tree = settings.Config if resolved is None else type(resolved.settings)
    if schema:
        print(json.dumps(settings.settings_schema(tree), indent=2))
    elif markdown:
        sys.stdout.write(settings.settings_markdown(tree))
    elif resolved is not None:
        sys.stdout.write(settings.saved_yaml(resolved))
    else:
        for name, kind, default, meaning in settings.settings_table():
            print(f"--{name}  ({kind}, default {default})\n    {meaning}")


@app.command()
def env() -> None:
    """Print versions and machine for a bug report, and where the samples are."""
    from tunny import run

    print(f"tunny {__version__}")
    for name, value in {**versions(), **run.machine(), "samples": Path(__file__).parent / "samples"}.items():
        print(f"{name}: {value}")


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _flags[:], rest = take_overrides(arguments)
    try:
        _require_together(rest)
        if os.environ.get("RANK", "0") not in ("", "0"):
            silence()
        code = app(rest, prog_name="tunny", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:  # whoever read our output has seen enough: `tunny config | head`
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        code = _explain(error)
    except KeyboardInterrupt:
        code = 130
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        code = stopped.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _require_together(arguments: list[str]) -> None:
    """Raise ConfigError where several processes were started for a command that one does alone: each would write the same files."""
    if os.environ.get("WORLD_SIZE", "1") not in ("", "1") and arguments[:1] and arguments[0] not in TOGETHER:
        what = f"{os.environ['WORLD_SIZE']} processes were started for tunny {arguments[0]}, which is for one"
        raise ConfigError(f"{what}. Several are for {', '.join(TOGETHER)}.")


def take_overrides(arguments: list[str]) -> tuple[Flags, list[str]]:
    """Part settings from the other arguments: `--section.key value`, `--section.key=value`, and the top-level names."""
    top = {"name", "output_dir", "seed", "task", "track", "config_path", "params"} - ({"seed"} if arguments[:1] == ["split"] else set())
    top = set() if arguments[:1] in (["run-ner"], ["run-glue"]) else top  # these are arguments of their own there
    flags: Flags = []
    rest: list[str] = []
    if arguments[:1] == ["launch"]:  # they belong to the command behind it
        return flags, arguments
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            return flags, [*rest, argument, *waiting]
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not ("." in name or name in top):
            rest.append(argument)
        elif equals:
            flags.append((name, value))
        else:
            flags.append((name, waiting.pop(0) if waiting and not waiting[0].startswith("--") else None))
    return flags, rest


def _explain(error: Exception) -> int:
    """Print an error for the user and return its exit code; what we did not foresee keeps its traceback."""
    if isinstance(error, TunnyError):
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name in ("torch", "transformers"):
        needed = f"this command needs the package {error.name}, which is not installed"
        print(f"error: {needed}: pip install torch transformers", file=sys.stderr)
        return 2
    if hasattr(error, "format_message"):  # an error of usage: typer has these from click, or from a copy of its own
        print(f"error: {error.format_message()}{_instead(error)}", file=sys.stderr)
        return 2
    import traceback

    traceback.print_exception(error)
    print("error: this is a fault in Tunny; please report it with the lines above and `tunny env`", file=sys.stderr)
    return 1


def _instead(error: Any) -> str:
    """Return what to do about an error of usage: the settings that an unknown option may stand for, or where to look."""
    from tunny.config import suggest_flag

    near = suggest_flag(error.option_name) if type(error).__name__ == "NoSuchOption" and not error.possibilities else ""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "tunny"
    return f"{near} (see {command} --help)"
