"""The tutorial runs from beginning to end, and its stored outputs are those of such a run."""

import re

import pytest

from tools.zoo.layout import ROOT

nbformat = pytest.importorskip("nbformat")
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"


def printed(notebook):
    """Text that the cells print."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def check(notebook):
    text = printed(notebook)
    found = re.search(r"zero-filled ([\d.]+) dB, reconstruction ([\d.]+) dB", text)
    assert float(found[2]) > float(found[1]) + 8
    assert float(re.search(r"change of a measured sample: (\S+)", text)[1]) < 1e-5
    assert float(re.search(r"largest difference (\S+)", text)[1]) < 1e-4
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) > 5


def test_stored_outputs_are_whole_and_small():
    assert TUTORIAL.stat().st_size < 1_500_000
    notebook = nbformat.read(TUTORIAL, as_version=4)
    check(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


@pytest.mark.slow  # three minutes of CPU
def test_every_cell_runs():
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("onnxruntime")
    notebook = nbformat.read(TUTORIAL, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client = nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(TUTORIAL.parent)}})
    check(client.execute())
