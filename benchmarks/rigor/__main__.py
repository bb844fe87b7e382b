"""``python -m benchmarks.rigor``: fills the bank, replays it, and writes ``docs/rigor.md``. What was banked is kept, and a later run goes on with it."""

import argparse
import sys
import time

from benchmarks.rigor import bank, simulate, table
from benchmarks.rigor.rows import ARMS

REPLAYING = 0.2
"""Share of the time that is left for replays at the end."""


def say(text: str) -> None:
    """On stderr, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Everything, or one part of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rigor", description=__doc__)
    parser.add_argument("--minutes", type=float, default=36.0, help="how long it may take (default: %(default)g)")
    parser.add_argument(
        "--only",
        choices=("bank", "page"),
        help="only take rounds and live runs, or only replay what is there and write the page",
    )
    parser.add_argument(
        "--runs", type=int, default=simulate.RUNS, help="simulated runs of each row (default: %(default)d)"
    )
    given = parser.parse_args()
    begin = time.monotonic()
    end = begin + 60 * given.minutes
    if given.only != "page":
        with bank.workload(say) as work:
            bank.fill(work, end if given.only else end - REPLAYING * 60 * given.minutes, say)
    if given.only != "bank":
        # A live run may have taken longer than there was time.
        until = max(end, time.monotonic() + REPLAYING * 60 * given.minutes)
        found = simulate.all_rows(until, say, given.runs)
        banks = {
            (arm, condition): rounds
            for arm, one in ARMS.items()
            for condition in one.conditions
            if (rounds := bank.read(arm, condition))
        }
        now = bank.code()
        live = [run for run in bank.live_runs() if run.code == now]
        table.PAGE.write_text(table.page(found, live, banks), encoding="utf-8")
        say(f"{table.PAGE} is written, after {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
