"""Makes docs/tutorial.ipynb, with outputs, from docs/tutorial.md: texts become cells, code is run.

Needs ``pip install nbclient ipykernel``. A test says when the tutorial has changed since.
"""

import re
import tempfile
from pathlib import Path

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
_CODE = re.compile(r"^```python\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def cells(text: str) -> list[tuple[str, str]]:
    """Return a document's texts and blocks of code in order, each with its kind."""
    # With one group, every second part is code.
    parts = [part.strip() for part in _CODE.split(text)]
    kinds = ("markdown", "code")
    return [(kinds[n % 2], part) for n, part in enumerate(parts) if part]


def main() -> None:
    """Run the tutorial in an empty folder and write the notebook beside it."""
    import nbformat
    from nbclient import NotebookClient

    new = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    made = [new[kind](text) for kind, text in cells(TUTORIAL.read_text(encoding="utf-8"))]
    for n, cell in enumerate(made):
        cell["id"] = f"cell-{n}"
    notebook = nbformat.v4.new_notebook(cells=made)
    with tempfile.TemporaryDirectory() as scratch:
        place = {"metadata": {"path": scratch}}
        NotebookClient(notebook, timeout=600, resources=place).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    notebook.metadata = {"language_info": {"name": "python"}}
    nbformat.write(notebook, TUTORIAL.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
