"""What a turn costs beside the calls that it times, next to the cost of a bare ping between two processes in the same run.

``python benchmarks/turns.py``: microseconds, medians, and their ratio, which is what counts; parent CPU is what the pytest process burns
while a worker is timed.
"""

import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from pytest_edgeai.measure.process import Worker
from pytest_edgeai.registry import BUILT_IN

ROUNDS = 3000
_NULL = """
from pathlib import Path
from pytest_edgeai import hookimpl
from pytest_edgeai.records import EngineDevice

class Null:
    name = "null"
    distributions = ()
    def catalogue(self, target, kind): return ()
    def baseline(self, kind): return None
    def refusal(self, recipe, assessment, device): return None
    def reason(self, recipe, assessment, device): return ""
    def devices(self): return (EngineDevice(name="CPU"),)
    def build(self, recipe, model, folder, calibration): pass
    def load(self, recipe, folder, threads): return Runner()

class Runner:
    def __call__(self, inputs): return {}
    def placement(self): return {}

@hookimpl
def edge_frameworks(): return (Null(),)
"""


def echo(connection: Connection) -> None:
    while True:
        connection.send_bytes(connection.recv_bytes())


def ping(connection: Connection) -> float:
    begin = time.perf_counter()
    connection.send_bytes(b"x" * 40)
    connection.recv_bytes()
    return time.perf_counter() - begin


def main() -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=echo, args=(theirs,), daemon=True)
    process.start()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "null_engine.py").write_text(_NULL)
        sys.path.insert(0, folder)
        inputs = Path(folder) / "inputs.npz"
        np.savez(inputs, x=np.zeros((1, 1), np.float32))
        with Worker("null") as worker:
            worker.ask("open", phase="start", timeout=60, modules=[*BUILT_IN, "null_engine"])
            recipe = {"framework": "null", "precision": "fp32"}
            arguments = {"recipe": recipe, "folder": folder, "inputs": str(inputs), "threads": 1, "metrics": []}
            worker.ask("load", phase="load", timeout=60, **arguments)
            pings, turns, timed, cpu = [], [], [], 0.0
            for _ in range(ROUNDS):
                pings.append(ping(ours))
                before = resource.getrusage(resource.RUSAGE_SELF)
                begin = time.perf_counter()
                answer = worker.ask("turn", phase="infer", timeout=10, first=0, calls=1)
                turns.append(time.perf_counter() - begin)
                after = resource.getrusage(resource.RUSAGE_SELF)
                cpu += after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
                timed.append(answer["seconds"])
    process.kill()
    bare, turn = statistics.median(pings) * 1e6, statistics.median(turns) * 1e6
    print(
        f"bare ping {bare:.0f} us | turn {turn:.0f} us, ratio {turn / bare:.2f} | parent CPU {cpu / ROUNDS * 1e6:.0f} us a turn"
    )
    print(f"the worker's own clock says {statistics.median(timed) * 1e6:.1f} us for the empty call")


if __name__ == "__main__":
    main()
