"""Make the notebooks of this folder: each NAME.py becomes an executed NAME.ipynb.

    python docs/notebooks/make.py [NAME ...]

Without names, all of them. The sources are jupytext's "percent" scripts. The blanks of exercises
stay blank; `filled` puts the solutions in, which the tests run.
"""

import base64
import io
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent
KERNEL = {
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "name": "python3",
}
EXERCISE = re.compile(r"exercise-\d+")


def names():
    """The notebooks' names, in alphabetical order."""
    return sorted(
        path.stem
        for path in FOLDER.glob("*.py")
        if path.name != "make.py"
    )


def source(name):
    """The notebook that a source describes, not executed."""
    notebook = jupytext.read(FOLDER / f"{name}.py", fmt="py:percent")
    notebook.metadata = {
        "kernelspec": KERNEL,
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def exercises(notebook):
    """Its cells with blanks, or with solutions: tag -> cell."""
    return {
        tag: cell
        for cell in notebook.cells
        for tag in cell.metadata.get("tags", [])
        if EXERCISE.fullmatch(tag)
    }


def filled(notebook):
    """Put the solutions in place of the cells with blanks; returns the notebook."""
    solutions = exercises(source("solutions"))
    for tag, cell in exercises(notebook).items():
        cell.source = solutions[tag].source
    return notebook


def executed(notebook):
    """Run it from top to bottom in an empty folder; returns the notebook."""
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            kernel_name=KERNEL["name"],
            timeout=300,
            startup_timeout=300,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    # What the kernel says of itself differs from one Python to the next.
    notebook.metadata = {
        "kernelspec": KERNEL,
        "language_info": {"name": "python"},
    }
    return notebook


def shrink(notebook):
    """Store its pictures with 256 colours each, in a third of the space; returns the notebook."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = Image.open(
                    io.BytesIO(base64.b64decode(data["image/png"]))
                )
                few = picture.convert("RGB").quantize(
                    256, dither=Image.Dither.NONE
                )
                file = io.BytesIO()
                few.save(file, "png", optimize=True)
                data["image/png"] = base64.b64encode(
                    file.getvalue()
                ).decode()
    return notebook


def main():
    for name in sys.argv[1:] or names():
        print(name, flush=True)
        nbformat.write(
            shrink(executed(source(name))), FOLDER / f"{name}.ipynb"
        )


if __name__ == "__main__":
    main()
