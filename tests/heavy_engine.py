"""A framework plugin for the tests: a runner that holds so many megabytes in such a way as its recipe's method says (``forked_50``)."""

import itertools
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from pytest_edgeai import hookimpl
from pytest_edgeai.records import EngineDevice, Recipe

MB = 10**6
WEIGHTS = "weights.bin"


class Heavy:
    name = "heavy"
    distributions = ("numpy",)

    def catalogue(self, target, kind):
        return [Recipe(framework="heavy", precision="fp32", method=f"{way}_20") for way in WAYS]

    def baseline(self, kind):
        return None

    def refusal(self, recipe, assessment, device):
        return None

    def reason(self, recipe, assessment, device):
        return "It is a test."

    def devices(self):
        """Its import allocates and frees: 80 MB at once, and 40 MB in pieces that the heap keeps, because the last one of them stays."""
        spike = b"x" * (80 * MB)
        del spike
        pieces = [b"x" * 100_000 for _ in range(400)]
        self.last = pieces[-1]
        return (EngineDevice(name="CPU"),)

    def build(self, recipe, model, folder, calibration):
        (folder / WEIGHTS).write_bytes(b"x" * parts(recipe)[1])

    def load(self, recipe, folder, threads):
        way, size = parts(recipe)
        return Runner(WAYS[way](size, folder / WEIGHTS))


class Runner:
    def __init__(self, way: Iterator[None]) -> None:
        self._way = way
        next(self._way)

    def __call__(self, inputs):
        next(self._way)
        return {"answer": np.zeros((1, 1), np.float32)}

    def placement(self):
        return {"device": "CPU"}


def parts(recipe: Recipe) -> tuple[str, int]:
    """The way and the bytes."""
    way, _, size = recipe.method.rpartition("_")
    return way, int(size) * MB


# Each way loads, and goes on at every call. What it keeps lives as long as the iterator.


def copied(size, weights):
    return itertools.repeat(b"x" * size)


def spiked(size, weights):
    whole = b"x" * size
    return itertools.repeat(whole[: size // 2])


def in_pieces(size, weights):
    return itertools.repeat([b"x" * 100_000 for _ in range(size // 100_000)])


def in_huge_pages(size, weights):
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_HUGEPAGE)
    return itertools.repeat(touched(pages))


def in_shared_memory(size, weights):
    return itertools.repeat(touched(mmap.mmap(-1, size)))


def reserved(size, weights):
    return itertools.repeat(mmap.mmap(-1, size))


def mapped(size, weights, share=1.0, calls=sys.maxsize):
    """``share`` of the file is read at once, and again by that many calls."""
    with weights.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    for call in itertools.count():
        yield sum(pages[: int(share * size) : mmap.PAGESIZE]) if call <= calls else None


def mapped_in_part(size, weights):
    return mapped(size, weights, share=0.5)


def repacked(size, weights):
    """Read once from the mapped file, and kept as a copy."""
    return zip(copied(size, weights), mapped(size, weights, calls=0), strict=True)


def forked(size, weights):
    return itertools.repeat(child(lambda: b"x" * size))


def executed(size, weights):
    program = "import sys, time; held = b'x' * int(sys.argv[1]); print(flush=True); time.sleep(3600)"
    process = subprocess.Popen([sys.executable, "-S", "-c", program, str(size)], stdout=subprocess.PIPE)
    process.stdout.readline()
    return itertools.repeat(process)


def family(size, weights):
    """A child that shares what it holds with its own child."""
    return itertools.repeat(child(lambda: (b"x" * size, child(lambda: None))))


def forked_with_spike(size, weights):
    return itertools.repeat(child(lambda: (b"x" * (2 * size))[:size]))


def ended(size, weights):
    return itertools.repeat(os.waitpid(child(lambda: b"x" * size, stays=False), 0))


def not_waited_for(size, weights):
    return itertools.repeat(child(lambda: b"x" * size, stays=False))


def touched(pages: mmap.mmap) -> mmap.mmap:
    for place in range(0, len(pages), mmap.PAGESIZE):
        pages[place] = 1
    return pages


def child(hold: Callable[[], object], *, stays: bool = True) -> int:
    """A forked process that holds something; its number, once it does (or has done so and ended)."""
    theirs, ours = os.pipe()
    number = os.fork()
    if number == 0:
        os.close(theirs)
        held = hold()
        if stays:
            os.write(ours, b"!")
            time.sleep(3600)
        del held
        os._exit(0)
    os.close(ours)
    os.read(theirs, 1)
    os.close(theirs)
    return number


WAYS = {
    way.__name__: way
    for way in (
        copied, spiked, in_pieces, in_huge_pages, in_shared_memory, reserved, mapped, mapped_in_part, repacked, forked, executed,
        family, forked_with_spike, ended, not_waited_for,
    )
}  # fmt: skip


@hookimpl
def edge_frameworks():
    return (Heavy(),)
