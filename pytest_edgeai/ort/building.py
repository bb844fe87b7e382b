"""Building: what every build of a model file for ONNX Runtime has around the step that is its own."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_edgeai.errors import BuildError, EdgeError
from pytest_edgeai.ort import files
from pytest_edgeai.ort.problems import problem
from pytest_edgeai.protocols import Arrays
from pytest_edgeai.records import Recipe


@contextlib.contextmanager
def building(
    recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays], engine: str = "ONNX Runtime"
) -> Iterator[tuple[Path, Path]]:
    """The file to write the variant to, and a folder for what is written on the way.

    Raises BuildError, in which ``engine`` says what is wrong, or UnsupportedError where ONNX Runtime lacks an operator.
    """
    if recipe.calibrated and not calibration:
        raise BuildError(f"{recipe.name} needs calibration items, and there are none.")
    file = folder / files.FILE
    try:
        with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as scratch:
            yield file, Path(scratch)
        if "batch" in recipe.tuning:
            files.mark_batch(file)
    except EdgeError:
        raise
    except Exception as error:
        raise problem(error, BuildError, f"build {recipe.name} of {model.name}", engine) from error
