"""What the tests of conversions share: PyTorch in this process, as it is in a worker."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from pytest_edgeai.conversion import FILE, RECORD
from pytest_edgeai.records import Conversion, Origin

NETS = Path(__file__).with_name("nets.py")
Convert = Callable[..., tuple[Path, Conversion]]


@pytest.fixture(scope="module", autouse=True)
def as_it_was() -> Iterator[None]:
    """Conversions change what belongs to their process; other tests run in this one."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
        patch.setattr(sys, "path", [*sys.path])
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def convert(tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """Converts a model here, without a worker; a function of ``nets.py`` by its name."""
    from pytest_edgeai.conversion import onnx_export

    known: dict[Path, tuple[Path, Conversion]] = {}

    def make(model: str | Path, origin: Origin = "function", *, again: bool = False) -> tuple[Path, Conversion]:
        path = Path(f"{NETS}:{model}") if isinstance(model, str) else model
        if path in known and not again:
            return known[path]
        folder = tmp_path_factory.mktemp("converted")
        onnx_export.convert(str(path), origin, str(folder), str(folder))
        found = folder / FILE, msgspec.json.decode((folder / RECORD).read_bytes(), type=Conversion)
        return found if again else known.setdefault(path, found)

    return make
