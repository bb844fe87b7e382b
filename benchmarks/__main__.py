"""All benchmarks, and their tables put into ``benchmarks/README.md``: ``python -m benchmarks``."""

import sys
import time
from pathlib import Path

from benchmarks import latency, start, tables, turns

if __name__ == "__main__":
    begin = time.monotonic()
    found = [start.measure(), turns.measure(), *latency.measure()]
    page = Path(__file__).with_name("README.md")
    tables.publish(page, found)
    print(*found, sep="\n")
    print(f"{page} is written, after {time.monotonic() - begin:.0f} s.", file=sys.stderr)
