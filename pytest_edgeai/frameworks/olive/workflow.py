"""The workflow: Olive's passes over one ONNX model, without a word on stdout, with all its files in a folder that goes, and with an error where it logs one."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.ort.problems import said
from pytest_edgeai.protocols import Arrays

ITEMS: Final = "items"
"""What a pass calls the calibration items by: ``{"data_config": ITEMS}``."""
_DATASET: Final = "pytest_edgeai_items"
_HERE: Final = {
    "type": "LocalSystem",
    "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
}
_WARNING: Final = 2
"""Olive's number for that level."""
_UNPREPARED: Final = "Failed to run quantization preprocessing"
"""How Olive's warning begins that it goes on with the model as it is."""


class WorkflowError(Exception):
    """Olive made no model; why, as it says itself."""


def run(
    passes: Sequence[Mapping[str, Any]], model: Path, scratch: Path, items: Sequence[Arrays] = (), **more: Any
) -> Any:
    """What Olive made of ``model``, by one pass after the other: its ``ModelOutput``, with files below ``scratch``.

    ``items``: one mapping an item, batch of one. ``more``: further entries of the workflow. Raises WorkflowError with what Olive raised or
    logged, and UnsupportedError where it couldn't prepare the model to be quantized.
    """
    with _quiet(scratch) as logged:
        from olive.data.registry import Registry
        from olive.workflows import run as run_workflow

        Registry.register_dataset(_DATASET)(lambda: _Items(items))
        config = {
            "input_model": {"type": "ONNXModel", "model_path": str(model)},
            "systems": {"here": _HERE},
            "host": "here",
            "target": "here",
            "data_configs": [
                {
                    "name": ITEMS,
                    "load_dataset_config": {"type": _DATASET},
                    "dataloader_config": {"type": "no_auto_batch_dataloader"},
                }
            ],
            "passes": {f"pass{place}": dict(one) for place, one in enumerate(passes)},
            "evaluate_input_model": False,
            "cache_dir": str(scratch / "cache"),
            "output_dir": str(scratch / "output"),
            "log_severity_level": _WARNING,
        }
        try:
            made = run_workflow(config | more, tempdir=str(scratch / "temporary")).get_best_candidate()
        except Exception as error:
            raise WorkflowError(said(_cause(error))) from error
    if unprepared := next((one for one in logged if one.getMessage().startswith(_UNPREPARED)), None):
        why = (
            said(_cause(unprepared.exc_info[1]))
            if unprepared.exc_info and unprepared.exc_info[1]
            else "it says no more"
        )
        raise UnsupportedError(
            f"Olive can't prepare this model to be quantized ({why}), and would quantize it unprepared; ONNX Runtime's own recipes prepare it otherwise."
        )
    if made is None:
        told = [one.exc_info[1] for one in logged if one.exc_info and one.exc_info[1]]
        why = said(_cause(told[0])) if told else "; ".join(one.getMessage() for one in logged) or "it doesn't say why"
        raise WorkflowError(why) from (told[0] if told else None)
    return made


class _Items:
    """Calibration items as PyTorch's loader reads them: with a label, which nothing reads."""

    def __init__(self, items: Sequence[Arrays]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> tuple[dict[str, Any], int]:
        if place >= len(self._items):
            raise IndexError(place)
        return dict(self._items[place]), 0


class _Log(logging.Handler):
    """Keeps what Olive warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


@contextlib.contextmanager
def _quiet(scratch: Path) -> Iterator[list[logging.LogRecord]]:
    """Import and run Olive so that nothing gets to stdout, where it logs; what it warns of is handed back.

    Temporary files of passes lie below ``scratch`` as long as this lasts: Olive leaves some until the process ends.
    """
    log, before, folder = _Log(), tempfile.tempdir, scratch / "temporary"
    folder.mkdir(exist_ok=True)
    logger = logging.getLogger("olive")
    logger.addHandler(log)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield log.kept
    finally:
        logger.removeHandler(log)
        tempfile.tempdir = before


def _cause(error: BaseException) -> BaseException:
    """What was raised first: Olive's own exceptions name the step and not the reason."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
