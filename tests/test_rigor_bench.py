"""The pure parts of ``make rigor``: banks of rounds, replays, the other tools' rules, and the page."""

import dataclasses
import itertools
import random
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.rigor import bank, peers, table
from benchmarks.rigor.hogs import Hogs
from benchmarks.rigor.rates import Rate
from benchmarks.rigor.replay import Deck, Replay
from benchmarks.rigor.rounds import Rounds, of_stream
from benchmarks.rigor.rows import ARMS, CONDITIONS, ROWS
from benchmarks.rigor.simulate import Found, simulate


def pair_of(*differences: float, free: tuple[bool, ...] = ()) -> Rounds:
    """A pair of processes whose rounds take 10 ms and begin 20 ms apart."""
    count = len(differences)
    columns = {
        "pair": [0] * count,
        "baseline_first": [True] * count,
        "free": free or [True] * count,
        "baseline": 0.005 * np.exp(differences),
        "variant": [0.005] * count,
        "took": [0.010] * count,
        "at": 0.020 * np.arange(count),
    }
    return Rounds.of_columns(columns)


def test_a_bank_comes_out_of_its_file_as_it_went_in(tmp_path):
    bank = pair_of(0.1, 0.2).joined(pair_of(0.3, free=(False,)))

    bank.write(tmp_path / "new" / "bank.npz")
    read = Rounds.read(tmp_path / "new" / "bank.npz")

    assert read.pairs == 2
    assert read.pair.tolist() == [0, 0, 1]
    assert read.free.tolist() == [True, True, False]
    assert np.array_equal(read.baseline, bank.baseline)


def test_pairs_that_took_turns_lie_together_each_in_its_order():
    columns = {
        "pair": [0, 1, 0, 1],
        "baseline_first": [True, False, False, True],
        "free": [True] * 4,
        "baseline": [0.1, 0.2, 0.3, 0.4],
        "variant": [1.0] * 4,
        "took": [0.01] * 4,
        "at": [0.0, 0.01, 0.02, 0.03],
    }

    rounds = Rounds.of_columns(columns)

    assert rounds.pair.tolist() == [0, 0, 1, 1]
    assert rounds.baseline.tolist() == pytest.approx([0.1, 0.3, 0.2, 0.4])
    assert rounds.at.tolist() == pytest.approx([0.0, 0.02, 0.01, 0.03])


def test_rounds_that_other_code_took_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(bank, "FOLDER", tmp_path)
    file = bank.file_of("identical", "quiet")
    dataclasses.replace(pair_of(0.1), code="0123456789ab").write(file)

    assert bank.read("identical", "quiet") is None
    dataclasses.replace(pair_of(0.1), code=bank.digest(bank.MEASURING)).write(file)
    assert bank.read("identical", "quiet").pairs == 1


def test_a_replay_draws_whole_pairs_and_takes_their_rounds_in_order():
    bank = pair_of(0.11, 0.12, 0.13).joined(pair_of(0.21, 0.22, 0.23)).joined(pair_of(0.31, 0.32, 0.33))
    replay = Replay(Deck(bank), random.Random(1), pairs=30)

    taken = [[round(replay.round(pair), 4) for _ in range(4)] for pair in range(30)]

    assert {int(10 * rounds[0]) for rounds in taken} == {1, 2, 3}
    for rounds in taken:
        assert len({int(10 * value) for value in rounds}) == 1
        assert rounds[3] == rounds[0]
        assert {round(later - earlier, 2) for earlier, later in itertools.pairwise(rounds)} <= {0.01, -0.02}


def test_a_replay_counts_the_seconds_of_its_rounds():
    replay = Replay(Deck(pair_of(0.1, 0.2)), random.Random(1), pairs=1)

    replay.round(0)
    replay.round(0)

    assert replay.seconds() == pytest.approx(0.020)


def test_a_factor_moves_the_truth_by_as_much():
    replay = Replay(Deck(pair_of(0.1)), random.Random(1), pairs=1, faster=1 / 1.05)

    assert replay.round(0) == pytest.approx(0.1 - np.log(1.05))


def test_mirrored_pairs_have_their_sides_swapped_in_one_half_of_the_draws():
    deck = Deck(pair_of(0.1))

    signs = [Replay(deck, random.Random(seed), pairs=1, truth=1.0).round(0) > 0 for seed in range(200)]

    assert 70 < sum(signs) < 130


def test_pairs_are_mirrored_about_the_speed_up_of_their_work():
    deck = Deck(pair_of(np.log(2.2)))

    found = {round(np.exp(Replay(deck, random.Random(seed), pairs=1, truth=2.0).round(0)), 4) for seed in range(20)}

    assert found == {2.2, round(4 / 2.2, 4)}


def test_pairs_that_hardly_had_free_cores_are_not_replayed():
    deck = Deck(pair_of(0.1, 0.1, free=(True, False)).joined(pair_of(0.2, 0.2)), least_free=2)

    assert deck.pairs == 1
    assert len(deck.weather) == 2


def replay_at(moment: int, free: tuple[bool, ...], pairs: int = 1, patience: float = 1.0) -> Replay:
    """A replay that begins at this moment of pairs that all saw the cores free at the same times. The differences are 0.1, 0.2, ..."""
    bank = pair_of(*[0.1 * (place + 1) for place in range(len(free))], free=free)
    replay = Replay(Deck(bank), random.Random(1), pairs=pairs, patience=patience)
    replay._moment, replay._clock = moment, replay._weather[0][moment]
    return replay


def test_waiting_goes_on_when_the_cores_are_free_again_and_takes_as_long():
    replay = replay_at(0, (False, False, True))

    assert replay.wait()

    assert replay.waited == pytest.approx(0.040)
    assert replay.round(0) == pytest.approx(0.3)
    assert replay.free


def test_after_the_last_moment_of_what_a_pair_saw_comes_the_first_of_what_another_one_did():
    replay = replay_at(1, (True, False, False))

    assert replay.wait()

    assert replay.waited == pytest.approx(0.030)
    assert replay.round(0) == pytest.approx(0.1)


def test_nothing_is_waited_for_while_the_cores_are_free_even_when_patience_is_spent():
    replay = replay_at(0, (True, False), patience=0.0)

    assert replay.wait()
    assert replay.waited == 0


def test_more_than_the_patience_is_not_waited():
    assert not replay_at(0, (False, False, True), patience=0.03).wait()


def test_the_cores_are_free_or_not_for_all_pairs_at_the_same_time():
    replay = replay_at(0, (True, False, True, False), pairs=3)

    found = []
    for _ in range(4):
        for pair in range(3):
            difference = replay.round(pair)
            found.append((replay.free, round(difference, 1) in (0.1, 0.3)))

    # Rounds take 10 ms and began 20 ms apart, so two in a row see the same; but 70 ms after the first moment the first comes again.
    once = [True, True, False, False, True, True, False]
    assert [free for free, _ in found] == (2 * once)[:12]
    assert all(free == of_free for free, of_free in found)


def test_cores_that_never_become_free_spend_the_patience():
    deck = Deck(pair_of(0.1, free=(False,)).joined(pair_of(0.2, free=(True,))))
    deck.weather = deck.weather[:1]
    replay = Replay(deck, random.Random(1), pairs=1, patience=1.0)

    assert not replay.wait()
    assert replay.waited == pytest.approx(1.0, abs=0.02)


def test_a_pair_that_never_had_free_cores_gives_no_rounds_but_is_waited_through():
    deck = Deck(pair_of(0.1, 0.1, free=(False, False)).joined(pair_of(0.2, 0.2)))
    replays = [Replay(deck, random.Random(seed), pairs=1, patience=9.0) for seed in range(20)]

    assert all(replay.wait() for replay in replays)
    assert all(replay.round(0) == pytest.approx(0.2) and replay.free for replay in replays)
    assert any(replay.waited > 0 for replay in replays)


def test_a_bank_without_a_round_on_free_cores_is_refused():
    with pytest.raises(ValueError, match="free cores"):
        Deck(pair_of(0.1, free=(False,)))


def test_a_renewed_replay_has_one_pair_more():
    replay = Replay(Deck(pair_of(0.1)), random.Random(1), pairs=1)

    fresh = replay.renew()

    assert (fresh, replay.pairs) == (1, 2)
    assert replay.round(1) == pytest.approx(0.1)


@pytest.mark.parametrize(("arm", "work"), [("A1", 1.0), ("B5", 1.05), ("B10", 1.10)])
def test_the_streams_show_the_work_that_their_arms_do(arm, work):
    rounds = of_stream("quiet", variant=arm)

    ratio = float(np.median(rounds.variant / rounds.baseline))

    assert rounds.pairs == 21
    assert ratio == pytest.approx(work, rel=0.005)
    assert 0.45 < rounds.baseline_first.mean() < 0.55


def bank_of(
    pairs: int, rounds: int = 100, *, slower: float = 1.0, noise: float = 0.02, layout: float = 0.004
) -> Rounds:
    """Pairs of processes that differ a little."""
    rng = np.random.default_rng(1)
    found = None
    for _ in range(pairs):
        one = pair_of(*(rng.normal(-np.log(slower) + rng.normal(0, layout), noise, rounds)))
        found = found.joined(one) if found else one
    return found


# The other tools' rules


def test_five_percent_of_the_mean_is_the_mean_alone():
    rule = peers.RULES["pytest-benchmark, mean:5%"]
    baseline = np.array([1.0, 1.0, 1.0, 1.0])

    assert rule(baseline, np.array([1.0, 1.0, 1.0, 1.24]))  # mean 1.06
    assert not rule(baseline, np.array([1.0, 1.0, 1.0, 1.16]))  # mean 1.04
    assert not peers.RULES["pytest-benchmark, median:5%"](baseline, np.array([1.0, 1.0, 1.0, 1.24]))


def test_five_percent_of_the_minimum_is_blind_for_all_but_the_fastest_call():
    rule = peers.RULES["pytest-benchmark, min:5%"]

    assert not rule(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 2.0]))
    assert rule(np.array([1.0, 9.0, 9.0]), np.array([1.06, 1.06, 1.06]))


@pytest.mark.parametrize("field", ["mean", "median", "min"])
def test_the_rules_of_pytest_benchmark_say_what_the_tool_itself_says(field):
    from pytest_benchmark.stats import Stats
    from pytest_benchmark.utils import PercentageRegressionCheck

    rng = np.random.default_rng(3)
    said = []
    for _ in range(200):
        sides = rng.normal(1.0, 0.05, 20), rng.normal(1.045, 0.05, 20)
        told = []
        for side in sides:
            stats = Stats()
            for seconds in side.tolist():
                stats.update(seconds)
            told.append(stats.as_dict())
        theirs = bool(PercentageRegressionCheck(field, 5.0).fails(told[1], told[0]))
        said.append((peers.RULES[f"pytest-benchmark, {field}:5%"](*sides), theirs))

    assert all(ours == theirs for ours, theirs in said)
    assert {True, False} == {theirs for _, theirs in said}


def test_students_t_test_finds_four_standard_errors_and_not_two():
    # Variance 2.5e-6 on each side and 5 values: the standard error of the difference is 1 ms; the critical value at 8 degrees is 2.306.
    baseline = np.array([0.100, 0.102, 0.098, 0.101, 0.099])

    assert peers.pyperf(baseline, baseline + 0.004)
    assert not peers.pyperf(baseline, baseline + 0.002)
    assert not peers.pyperf(baseline, baseline - 0.004)
    assert not peers.pyperf(baseline, baseline + 0.004, least=0.05)


def test_the_values_of_the_t_test_are_means_of_a_tenth_of_a_second():
    # Calls of 10 ms that differ by 2 % and 4 values a side that don't: the noise of single calls cancels within a value.
    baseline = np.tile([0.0098, 0.0102], 20) + np.repeat([1e-6, -1e-6, 1e-6, -1e-6], 10)

    assert peers.pyperf(baseline, baseline + 5e-6)


def test_the_u_test_of_ten_values_a_side_finds_a_u_of_21_and_not_28():
    # The critical value of U for 10 and 10 values at 0.05, two-sided, is 23 (Mann & Whitney 1947).
    baseline = np.arange(10.0)

    assert peers.benchstat(baseline, baseline + 3.5)  # sum of 6, 5, ..., 1 = 21 pairs are the wrong way round
    assert not peers.benchstat(baseline, baseline + 2.5)  # 28 pairs
    assert not peers.benchstat(baseline + 3.5, baseline)


def test_too_few_samples_for_the_values_of_a_test_are_an_error():
    with pytest.raises(ValueError, match="9 samples make no 10 values"):
        peers.benchstat(np.ones(9), np.ones(9))


def test_windows_are_taken_one_after_the_other_and_share_no_round():
    rounds = pair_of(*[0.0] * 10)
    rounds.baseline[:] = [0.25 * (number + 1) for number in range(10)]
    rounds.variant[:] = 1.0

    found = [(baseline.tolist(), variant.tolist()) for baseline, variant in peers.windows(rounds, 1.5)]

    # 0.25 + 0.5 + 0.75 = 1.5 s; two calls of 1 s; 1.5 s; two calls of 1 s; the two that are left are too few.
    assert found == [([0.25, 0.5, 0.75], [1.0, 1.0]), ([1.5], [1.0, 1.0])]


def test_a_slot_of_several_calls_fills_a_window_sooner():
    (one, other), *_ = peers.windows(pair_of(*[0.0] * 10), 0.05, calls=5)

    assert (len(one), len(other)) in ((2, 2), (3, 3))
    assert one[0] == pytest.approx(0.025)  # of the whole slot


def test_windows_do_not_mix_pairs_of_processes():
    # Three rounds of 5 ms a pair: too few for 10 ms and 10 ms.
    bank = pair_of(0.0, 0.0, 0.0).joined(pair_of(0.0, 0.0, 0.0))

    assert list(peers.windows(bank, 0.0099)) == []
    assert len(list(peers.windows(bank, 0.0049))) == 2


# Rates, simulations, the page


def test_no_event_in_300_bounds_the_rate_at_1_22_percent():
    low, high = Rate(0, 300).bounds

    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 300))
    assert str(Rate(0, 300)) == "0 % (0 .. 1.2)"


@pytest.mark.parametrize(
    ("count", "total", "at_most", "told"),
    [
        (0, 10_000, True, "yes"),
        (1, 200, True, "probably"),
        (4, 200, True, "probably not"),
        (300, 10_000, True, "**no**"),
        (10_000, 10_000, False, "yes"),
        (9_000, 10_000, False, "**no**"),
    ],
)
def test_a_promise_is_kept_for_sure_only_by_the_bound(count, total, at_most, told):
    assert Rate(count, total).keeps(0.01 if at_most else 0.99, at_most=at_most) == told


def test_a_live_rate_contradicts_a_promise_only_with_its_bounds():
    assert not Rate(1, 40).contradicts(0.01, at_most=True)
    assert Rate(4, 40).contradicts(0.01, at_most=True)
    assert not Rate(39, 40).contradicts(0.99, at_most=False)


def test_a_live_rate_that_the_simulation_does_not_explain_is_told():
    assert Rate(23, 24).allows(0.995)
    assert not Rate(20, 24).allows(0.9926)


def test_simulated_runs_are_the_same_each_time_and_come_from_the_file(tmp_path):
    bank_of(8).write(tmp_path / "bank.npz")

    one, other = (simulate("identical", tmp_path / "bank.npz", "seed", 40) for _ in range(2))

    assert one == other
    assert one.outcomes == ["PASS"] * 40
    assert len(set(one.rounds)) > 1


def test_a_run_of_many_gates_fails_with_any_of_them(tmp_path, monkeypatch):
    # A coin swaps the sides of each pair, so that of three pairs of which one side is slower all fail in one of eight runs.
    slow = bank_of(8, slower=1.2)
    slow.took[:] = 1.0  # what three rounds of each pair don't decide soon reaches the budget
    slow.write(tmp_path / "bank.npz")

    def failures(gates: int) -> float:
        monkeypatch.setitem(ROWS, "gates", dataclasses.replace(ROWS["gates"], gates=gates))
        return simulate("gates", tmp_path / "bank.npz", "seed", 24).outcomes.count("FAIL") / 24

    assert failures(1) < 0.4
    assert failures(12) > 0.6


def test_every_row_has_an_arm_and_every_arm_a_row():
    assert {row.arm for row in ROWS.values()} == set(ARMS)
    assert all(set(row.live) <= set(row.conditions) <= set(CONDITIONS) for row in ROWS.values())
    assert all(row.faster == 1.0 for row in ROWS.values() if row.live)  # whole runs can't be scaled


def test_a_short_run_begins_with_identical_code_on_each_machine():
    first = bank.jobs()[:3]

    assert [(job.kind, job.name, job.condition) for job in first] == [
        ("pair", "identical", name) for name in CONDITIONS
    ]


def test_the_page_marks_what_was_missed_and_what_live_runs_contradict():
    found = {
        ("identical", "quiet"): Found(["PASS"] * 995 + ["FAIL"] * 5, [27] * 1000, [0.9] * 1000, [0.1] * 1000),
        ("plus10-scaled", "quiet"): Found(
            ["FAIL"] * 900 + ["INCONCLUSIVE"] * 100, [30] * 1000, [1.0] * 1000, [0.0] * 1000
        ),
    }
    facts = {
        "code": "",
        "day": "2026-01-02",
        "rounds": 30,
        "pairs": 3,
        "seconds": 0.8,
        "started": 1.5,
        "waited": 0.0,
        "whole": 2.5,
    }
    banked = bank_of(8, 400)
    banked.variant[:] *= np.random.default_rng(2).normal(1, 0.001, 3200)
    live = [bank.Live(row="identical", condition="quiet", outcome="FAIL", **facts)] * 3

    page = table.page(found, live, {("identical", "quiet"): banked})

    lines = [line for line in page.splitlines() if line.startswith("| identical code, at most 5 % slower | quiet |")]
    assert lines[0].endswith(
        "| false FAIL at most 1 % | 0.50 % (0.16 .. 1.2) | probably | 3 of 3, **contradicts**, **not as simulated** |"
    )
    assert lines[1].endswith(
        "| PASS within 10 s of sampling at least 99 % | 99.50 % (98.8 .. 99.84) | probably | 0 of 3, **contradicts**, **not as simulated** |"
    )
    assert lines[2].endswith("| median of at most 0.5 s of sampling | 0.9 | **no** | 0.8, **above** |")
    assert (
        "| identical code scaled by 1.10, at most 5 % slower | quiet | FAIL at least 99 % | 90 % (88 .. 91.8) | **no** | - |"
        in page
    )
    assert "| plain beside plain | quiet | 8 | 3,200 | " in page
    assert "| pytest-benchmark, mean:5% |" in page


# Neighbours


def test_neighbours_end_with_the_block_that_has_them():
    with Hogs("hogs", 1) as hogs:
        running = [process.poll() for process in hogs._processes]

    assert running == [None, None]
    assert all(process.returncode is not None for process in hogs._processes)


def test_a_neighbour_ends_when_whoever_started_it_is_gone():
    ended = subprocess.run(
        [sys.executable, bank.ROOT / "benchmarks/rigor/hogs.py", "bursty", "1"],
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=20,
    )

    assert ended.returncode == 0
