"""examples/tunny.ipynb: executed from its first cell to its last, but for the one that installs."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples" / "tunny.ipynb"


def test_the_notebook_is_sound_and_holds_no_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_the_notebook_goes_from_files_to_a_report(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "install" not in cell.metadata.get("tags", [])]
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    work = tmp_path / "harbour"
    for page in ("check/check.html", "models/harbour/validation/report.html", "evaluation-results/report.html"):
        assert (work / page).is_file()
    metrics = json.loads((work / "evaluation-results/metrics.json").read_text("utf-8"))["metrics"]
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []) if output.get("name") == "stdout"
    )
    assert f"F1 {metrics['f1']:.3f}" in printed
    assert metrics["f1"] > 0.3  # of 6 types
    assert "('Morning Star', 'VESSEL')" in printed
