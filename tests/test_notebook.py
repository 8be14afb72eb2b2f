"""docs/notebook.ipynb runs, with few views; its statements hold; its outputs are saved."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(PATH, as_version=4)


def test_its_outputs_are_from_one_complete_run(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [output.output_type for cell in cells for output in cell.outputs]
    assert kinds and set(kinds) <= {"execute_result", "display_data"}, "it has a warning or an error"


@pytest.mark.docs
def test_it_runs(notebook, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    small = nbformat.from_dict(notebook)
    decomposing = [cell for cell in small.cells if "dvt.decompose(" in cell.source and cell.cell_type == "code"]
    for cell in decomposing:
        cell.source = cell.source.replace("backbone, fine=4", "backbone, fine=4, num_views=16")
        cell.source = cell.source.replace("coffee()), backbone)", "coffee()), backbone, num_views=16)")
    assert [cell.source.count("num_views=16") for cell in decomposing] == [1, 1]
    NotebookClient(small, timeout=120, kernel_name="python3").execute()
    found = [
        ast.literal_eval(output.data["text/plain"])
        for cell in small.cells
        if "likeness(result" in cell.source
        for output in cell.outputs
    ]
    assert len(found) == 1 and found[0]["artifact"] > 0.5 and found[0]["clean"] < 0.3
