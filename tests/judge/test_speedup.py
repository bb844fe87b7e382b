"""Speed-ups: what is wrong is never proven, what is clear is proven soon, and the rest stays open; on machines with known noise."""

import dataclasses
import functools
import math
import re
import statistics

import numpy as np
import pytest

from pytest_edgeai.judge import ratios
from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.ratios import EXTENDED, speedup
from pytest_edgeai.judge.rules import RIGOR, Rules
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import sequential
from tests.chance import promised
from tests.judge.simulated import HEAT, HOGS, QUIET, Told, Turns, Weather

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
QUICK = RIGOR["quick"]
SHORT = dataclasses.replace(QUICK, budget=8.0)
"""Some 400 rounds of the simulated calls."""
UNGUARDED = dataclasses.replace(SHORT, guard=0.0)
ROUNDS_ALONE = dataclasses.replace(QUICK, budget=80.0, looks=())
"""No further pairs of processes near the limit."""
WEATHERS = {"quiet": QUIET, "hogs": HOGS, "heat": HEAT}
NO_LAYOUT = Weather(layout=0.0)

weathers = pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS)


@functools.cache
def found(
    true: float, operator: str, limit: float, weather: Weather, rules: Rules, runs: int, call: float = 0.010
) -> list[Finding]:
    """What so many runs come to, each on a machine of its own."""
    return [speedup(Turns(true, limit, weather, seed=run, call=call), operator, limit, rules) for run in range(runs)]


def share(findings: list[Finding], outcome: Outcome) -> float:
    return sum(finding.outcome is outcome for finding in findings) / len(findings)


@weathers
def test_identical_code_is_never_proven_to_be_5_percent_faster(weather):
    findings = found(1.0, ">=", 1.05, weather, QUICK, 1000)

    assert share(findings, PASS) <= promised(QUICK.alpha, 1000)
    assert share(findings, FAIL) >= 0.95


@weathers
def test_identical_code_is_never_proven_to_be_5_percent_slower(weather):
    findings = found(1.0, ">=", 0.95, weather, QUICK, 1000)

    assert share(findings, FAIL) <= promised(QUICK.alpha, 1000)
    assert share(findings, PASS) >= 0.95


@weathers
def test_a_true_10_percent_slowdown_fails_the_gate_of_at_most_5_percent(weather):
    findings = found(0.9, ">=", 0.95, weather, QUICK, 300)

    assert share(findings, FAIL) >= 0.95
    assert share(findings, PASS) <= promised(QUICK.alpha, 300)


@weathers
@pytest.mark.parametrize(("true", "outcome"), [(2.2, PASS), (1.8, FAIL)])
def test_a_speedup_10_percent_off_the_limit_is_proven(true, outcome, weather):
    findings = found(true, ">=", 2, weather, QUICK, 1000)

    assert share(findings, outcome) >= 0.99
    assert share(findings, {PASS: FAIL, FAIL: PASS}[outcome]) <= promised(QUICK.alpha, 1000)


@pytest.mark.parametrize("weather", [QUIET, HOGS], ids=["quiet", "hogs"])
@pytest.mark.parametrize("limit", [0.5, 1.0, 2.0])
def test_a_speedup_exactly_at_the_limit_is_proven_to_no_side(limit, weather):
    findings = found(limit, ">=", limit, weather, SHORT, 400)

    assert share(findings, PASS) <= 0.015
    assert share(findings, FAIL) <= 0.015


@pytest.mark.parametrize("weather", [QUIET, HOGS], ids=["quiet", "hogs"])
def test_layouts_twice_as_far_apart_as_usual_are_still_not_taken_for_a_speedup(weather):
    findings = found(2.0, ">=", 2.0, dataclasses.replace(weather, layout=0.010), SHORT, 200, call=0.004)

    assert share(findings, PASS) <= promised(QUICK.alpha, 200)
    assert share(findings, FAIL) <= promised(QUICK.alpha, 200)


@pytest.mark.parametrize("weather", [QUIET, HOGS], ids=["quiet", "hogs"])
def test_ten_times_the_rounds_do_not_make_a_speedup_at_the_limit_certain(weather, monkeypatch):
    monkeypatch.setattr(ratios, "ENOUGH_ROUNDS", 4000)

    findings = found(2.0, ">=", 2.0, weather, ROUNDS_ALONE, 40, call=0.002)

    assert min(finding.samples for finding in findings) > 2500
    assert share(findings, INCONCLUSIVE) == 1


def test_without_layouts_the_rounds_alone_keep_the_error_rate_however_often_they_are_looked_at():
    findings = found(1.0, ">=", 1.0, NO_LAYOUT, UNGUARDED, 400)

    assert share(findings, PASS) <= promised(QUICK.alpha, 400)
    assert share(findings, FAIL) <= promised(QUICK.alpha, 400)


@pytest.mark.parametrize("true", [0.9, 1.0, 1.1, 2.0])
def test_at_most_is_at_least_mirrored(true):
    mirrored = {PASS: FAIL, FAIL: PASS, INCONCLUSIVE: INCONCLUSIVE}

    at_least = found(true, ">=", 1.0, QUIET, SHORT, 30)
    at_most = found(true, "<=", 1.0, QUIET, SHORT, 30)

    assert [dataclasses.replace(f, outcome=mirrored[f.outcome]) for f in at_least] == at_most


@weathers
def test_identical_code_is_proven_to_be_at_most_5_percent_faster(weather):
    findings = found(1.0, "<=", 1.05, weather, QUICK, 300)

    assert share(findings, PASS) >= 0.95
    assert share(findings, FAIL) <= promised(QUICK.alpha, 300)


@pytest.mark.parametrize(
    ("true", "limit"), [(1.0, 1.05), (1.0, 0.95), (2.2, 2.0), (1.8, 2.0), (1.0, 2.0)], ids=lambda value: f"{value:g}"
)
def test_clear_cases_take_few_rounds_on_a_quiet_machine(true, limit):
    rounds = [finding.samples for finding in found(true, ">=", limit, QUIET, QUICK, 1000)]

    assert statistics.median(rounds) <= 45
    assert np.quantile(rounds, 0.99) <= 150


@pytest.mark.parametrize(("pairs", "rounds"), [(1, 11), (2, 12), (3, 12), (5, 15)])
@pytest.mark.parametrize(("limit", "outcome"), [(1000.0, FAIL), (0.001, PASS)], ids=["impossible", "trivial"])
def test_what_every_round_agrees_on_is_decided_by_the_first_cycle_of_at_least_eleven_rounds(
    limit, outcome, pairs, rounds
):
    finding = speedup(Turns(2.0, limit, HOGS, pairs=pairs), ">=", limit, QUICK)

    assert finding.outcome is outcome
    assert finding.samples == rounds


@pytest.mark.parametrize(("gates", "rounds"), [(1, 12), (10, 15), (100, 21)])
def test_gates_that_share_an_error_rate_take_more_rounds_to_fail_and_none_more_to_pass(gates, rounds):
    shared = dataclasses.replace(QUICK, share=1 / (2 * gates))

    assert speedup(Told(-0.5), ">=", 1.0, shared).samples == rounds
    assert speedup(Told(0.5), "<=", 1.0, shared).samples == rounds
    assert speedup(Told(0.5), ">=", 1.0, shared).samples == 12


def test_a_decided_comparison_stops_at_once_and_spends_no_more_of_the_budget():
    sampler = Turns(3.0, 2.0)

    finding = speedup(sampler, ">=", 2.0, QUICK)

    assert finding.samples == sampler.rounds < 30
    assert finding.seconds == sampler.seconds() < QUICK.budget / 10


@pytest.mark.parametrize("pairs", [1, 3, 5])
def test_the_budget_is_kept_within_one_cycle_of_rounds(pairs):
    sampler = Told(0.0, pairs=pairs, round_seconds=0.25)

    speedup(sampler, ">=", 1.0, Rules(budget=10.1, pairs=pairs, looks=()))

    assert 10.1 <= sampler.seconds() < 10.1 + 0.25 * pairs


def test_no_more_rounds_are_taken_of_three_pairs_than_tell_something():
    finding = speedup(Told(0.0, round_seconds=1e-3), ">=", 1.0, ROUNDS_ALONE)

    assert finding.samples == 3 * ratios.ENOUGH_ROUNDS
    assert finding.seconds < 2


def test_pairs_whose_medians_are_known_well_are_not_asked_again_and_again():
    finding = speedup(Layouts(*[0.001, -0.001] * 4), ">=", 1.0, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert finding.samples == 8 * ratios.LEAST_ROUNDS


@pytest.mark.parametrize(("spread", "rounds"), [(0.01, 30), (0.025, 39), (0.10, 400)])
def test_noisy_rounds_are_asked_until_their_median_is_known_to_half_a_percent(spread, rounds):
    rng = np.random.default_rng(1)

    finding = speedup(Told(*rng.normal(0, spread, 5000), round_seconds=1e-3), ">=", 1.0, QUICK)

    assert finding.samples / 8 == pytest.approx(rounds, rel=0.1)


def test_the_median_of_values_in_two_heaps_is_not_taken_for_known():
    finding = speedup(Told(0.1, -0.1, round_seconds=1e-3), ">=", 1.0, QUICK)

    assert finding.samples == 8 * ratios.ENOUGH_ROUNDS


def test_further_pairs_extend_the_budget_once():
    sampler = Told(0.01, -0.01, round_seconds=0.25)

    finding = speedup(sampler, ">=", 1.0, Rules(budget=10.1, looks=(50,)))

    assert finding.outcome is INCONCLUSIVE
    assert sampler.pairs > 3
    assert EXTENDED * 10.1 <= sampler.seconds() < EXTENDED * 10.1 + 0.25


def test_a_warm_up_that_spent_the_budget_still_leaves_one_cycle():
    sampler = Told(0.5, round_seconds=100)

    finding = speedup(sampler, ">=", 1.0, QUICK)

    assert (finding.outcome, finding.samples) == (INCONCLUSIVE, 3)


def test_each_pair_of_processes_gives_the_same_number_of_rounds():
    asked: list[int] = []

    class Noting(Told):
        def round(self, pair: int) -> float:
            asked.append(pair)
            return super().round(pair)

    speedup(Noting(0.5, -0.5, pairs=3), ">=", 1.0, dataclasses.replace(QUICK, budget=0.3))

    assert asked == [0, 1, 2] * 10 + [3] * 10 + [4] * 10 + [5] * 10


@pytest.mark.parametrize("odd", [-0.1, 0.0])
def test_one_odd_pair_of_processes_does_not_decide_and_is_not_outvoted(odd):
    finding = speedup(Told(0.1, 0.1, odd, pairs=3), ">=", 1.0, dataclasses.replace(QUICK, budget=3.0, looks=()))

    assert finding.outcome is INCONCLUSIVE
    assert finding.notes == [
        "the pairs of processes differ too much to agree about the limit; give it a larger --edge-budget, and further pairs decide"
    ]


def test_rounds_exactly_at_the_limit_count_for_neither_side():
    finding = speedup(Told(0.0), ">=", 1.0, dataclasses.replace(UNGUARDED, budget=1.0))

    assert finding.outcome is INCONCLUSIVE
    assert finding.estimate == 1


def test_rounds_within_the_guard_prove_nothing_and_the_note_says_so():
    finding = speedup(Told(0.010), ">=", 1.0, dataclasses.replace(QUICK, budget=1.0, looks=()))

    assert finding.outcome is INCONCLUSIVE
    assert finding.notes == ["not decided within 1.02 s of sampling: the truth may lie within 2.0 % of the limit"]


def test_a_truth_within_the_guard_is_promised_no_number_of_rounds():
    # 60 % of the rounds lie above the limit, but no more than half of them above the guard.
    finding = speedup(
        Told(0.014, 0.014, -0.05, 0.05, -0.05), ">=", 1.0, dataclasses.replace(QUICK, budget=1.0, looks=())
    )

    assert finding.outcome is INCONCLUSIVE
    assert "rounds would decide it" not in finding.notes[0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "rounds_told", [(0.1, 0.1, -0.1, 0.1), (0.01, 0.03, 0.03, -0.1, 0.03)], ids=["far", "some within the guard"]
)
def test_a_spent_budget_names_the_rounds_that_would_decide_and_they_do(rounds_told, sign):
    pattern = [sign * difference for difference in rounds_told]

    finding = speedup(Told(*pattern), ">=", 1.0, dataclasses.replace(QUICK, budget=0.3, looks=()))

    assert finding.outcome is INCONCLUSIVE
    assert finding.notes[0].startswith("not decided within 0.3 s of sampling; about ")
    rounds = int(finding.notes[0].partition("about ")[2].split()[0])
    seconds = int(finding.notes[0].partition("--edge-budget=")[2].partition(")")[0])
    more = speedup(Told(*pattern), ">=", 1.0, dataclasses.replace(QUICK, budget=seconds, looks=()))
    assert more.outcome is (PASS if sign == 1 else FAIL)
    assert more.samples == pytest.approx(rounds, rel=0.3)


@pytest.mark.parametrize("true", [1.0, 1.95, 2.0, 2.2])
@pytest.mark.parametrize("weather", [QUIET, HOGS], ids=["quiet", "hogs"])
def test_the_bounds_cover_the_truth(true, weather):
    findings = found(true, ">=", 2.0, weather, SHORT, 200)

    assert statistics.mean(finding.low > true for finding in findings) <= promised(QUICK.alpha, 200)
    assert statistics.mean(finding.high < true for finding in findings) <= promised(QUICK.alpha, 200)


def test_bounds_that_knew_only_these_processes_would_miss_the_truth(monkeypatch):
    """So that the test of the bounds is known to be able to fail: other processes of the same code are laid out differently."""
    monkeypatch.setattr(ratios, "ENOUGH_ROUNDS", 4000)
    findings = found(2.0, ">=", 2.0, QUIET, ROUNDS_ALONE, 40, call=0.002)

    narrow = [(f.low * math.exp(QUICK.guard), f.high / math.exp(QUICK.guard)) for f in findings]

    assert statistics.mean(not low <= 2 <= high for low, high in narrow) > 0.2
    assert all(f.low <= 2 <= f.high for f in findings)


@weathers
def test_the_limit_lies_outside_the_bounds_exactly_when_it_is_decided(weather):
    for true in (0.97, 1.0, 1.03, 1.1):
        for finding in found(true, ">=", 1.0, weather, SHORT, 50):
            side = PASS if finding.low > 1 else FAIL if finding.high < 1 else INCONCLUSIVE

            assert finding.outcome is side


def test_a_finding_says_how_it_was_found():
    finding = speedup(Turns(3.0, 2.0), ">=", 2.0, QUICK)

    assert finding.method == "sign e-process in turns"
    assert finding.spent == f"3 process pairs, {finding.samples} rounds, {finding.seconds:.2g} s"
    assert finding.confidence == 0.99
    assert finding.low < finding.estimate < finding.high
    assert finding.notes == []


class Layouts(Told):
    """Pairs of processes that differ: what is told for each pair, a little noise about it."""

    def __init__(self, *of_pairs: float) -> None:
        super().__init__(0.0)
        self._of_pairs = of_pairs

    def round(self, pair: int) -> float:
        super().round(pair)
        return self._of_pairs[pair] + (0.004 if self.rounds % 2 else -0.004)


@pytest.mark.parametrize(("sign", "outcome"), [(1, PASS), (-1, FAIL)])
def test_near_the_limit_the_medians_of_further_pairs_decide(sign, outcome):
    pairs = [sign * median for median in (0.010, 0.011, 0.009, 0.010, 0.012)]

    finding = speedup(Layouts(*pairs), ">=", 1.0, QUICK)

    assert finding.outcome is outcome
    assert finding.method == "t bounds of process pairs in turns"
    assert finding.spent.startswith("5 process pairs, ")
    assert (finding.low > 1) if outcome is PASS else (finding.high < 1)


def test_pairs_on_both_sides_decide_nothing_and_how_many_would_is_told():
    finding = speedup(Layouts(0.012, -0.002, 0.010, -0.004, 0.008, -0.003, 0.011, 0.001), ">=", 1.0, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert re.fullmatch(
        r"not decided within \S+ s of sampling: the truth may lie within 2.0 % of the limit; about \d+ process pairs would decide it"
        r"( \(--edge-rigor=strict starts up to 12\))?",
        finding.notes[0],
    )


def test_strict_starts_more_pairs_than_quick():
    pairs = (0.010, 0.000, 0.012, -0.001, 0.010, 0.002, 0.005, 0.000, 0.008, 0.006, 0.009, 0.007)

    assert speedup(Layouts(*pairs), ">=", 1.0, QUICK).outcome is INCONCLUSIVE
    assert speedup(Layouts(*pairs), ">=", 1.0, RIGOR["strict"]).outcome is PASS


def test_a_later_run_goes_on_where_an_earlier_one_stopped():
    rounds_told = (0.1, 0.1, -0.1, 0.1)
    short = dataclasses.replace(QUICK, budget=0.15)

    first = speedup(Told(*rounds_told), ">=", 1.0, dataclasses.replace(short, looks=()))
    later = [first]
    while later[-1].outcome is INCONCLUSIVE:
        later.append(speedup(Told(*rounds_told), ">=", 1.0, short, later[-1].evidence))

    assert later[-1].outcome is PASS
    assert len(later) > 2
    assert [finding.samples for finding in later[:-1]] == [15 * (place + 1) for place in range(len(later) - 1)]
    assert len(later[-1].evidence) == later[-1].samples
    assert later[-1].low > 1


def test_what_odd_pairs_kept_from_being_proven_is_not_proven_by_a_few_rounds_of_others():
    odd = speedup(Told(0.1, 0.1, -0.1, pairs=3), ">=", 1.0, dataclasses.replace(QUICK, budget=3.0, looks=()))
    assert odd.outcome is INCONCLUSIVE

    again = speedup(Told(-0.001), ">=", 1.0, dataclasses.replace(QUICK, budget=0.15), odd.evidence)
    agreed = speedup(Told(0.1), ">=", 1.0, dataclasses.replace(QUICK, budget=0.15), odd.evidence)

    assert again.outcome is INCONCLUSIVE
    assert "run it without --edge-continue" in again.notes[0]
    assert (agreed.outcome, agreed.samples - len(odd.evidence)) == (PASS, 24)


def test_going_on_makes_no_look_at_medians_again():
    before = speedup(Told(0.0), ">=", 1.0, QUICK).evidence

    finding = speedup(Layouts(0.010, 0.011, 0.009, 0.010, 0.012), ">=", 1.0, QUICK, before)

    assert finding.outcome is INCONCLUSIVE
    assert finding.spent.startswith("3 process pairs, ")


@pytest.mark.parametrize("looks", [(), (5,)])
def test_a_pair_without_a_round_that_can_be_believed_leaves_it_open(looks):
    class Shared(Told):
        """Other programs are there whenever the second pair has its turn."""

        @property
        def free(self):
            return self.rounds % 2 == 1

    finding = speedup(Shared(0.5, pairs=2, round_seconds=1.0), ">=", 1.0, dataclasses.replace(QUICK, looks=looks))

    assert finding.outcome is INCONCLUSIVE
    assert "10 of 20 rounds began beside them" in finding.notes[0]
    assert finding.low <= 1 <= finding.high


def test_a_claim_that_stands_for_its_opposite_has_the_share_on_its_other_side():
    rules = dataclasses.replace(QUICK, share=1 / 100, turned=True)

    assert speedup(Told(0.5), ">=", 1.0, rules).samples == 18
    assert speedup(Told(-0.5), ">=", 1.0, rules).samples == 12


def test_the_reported_interval_is_the_sequential_one_widened_by_the_guard():
    differences = np.random.default_rng(3).normal(0.0, 0.05, 60)

    finding = speedup(
        Told(*differences, round_seconds=0.01), ">=", 1.0, dataclasses.replace(QUICK, budget=0.6, looks=())
    )

    low, high = sequential.sign_bounds(differences, 0.99)
    assert finding.samples == 60
    assert finding.low == pytest.approx(math.exp(low - QUICK.guard))
    assert finding.high == pytest.approx(math.exp(high + QUICK.guard))


def test_the_same_rounds_give_the_same_finding():
    one, other = (speedup(Turns(2.05, 2.0, HOGS, seed=7), ">=", 2.0, SHORT) for _ in range(2))

    assert one == other


@pytest.mark.parametrize("sign", [1, -1])
def test_both_bounds_are_shown_however_many_gates_share_the_error_rate(sign):
    """The report has no interval else, and a clear verdict has few rounds."""
    finding = speedup(Told(sign * 0.5), ">=", 1.0, dataclasses.replace(QUICK, share=1 / 100))

    assert 0 < finding.low < finding.estimate < finding.high < math.inf
