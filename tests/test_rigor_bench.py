"""The pure parts of ``make rigor``: banks of rounds, replays, the other tools' rules, and the page."""

import itertools
import random

import numpy as np
import pytest

from benchmarks.rigor.replay import Deck, Replay
from benchmarks.rigor.rounds import Rounds, of_stream


def pair_of(*differences: float, free: tuple[bool, ...] = (), warm_up: float = 0.25) -> Rounds:
    """A pair of processes whose rounds take 10 ms and begin 20 ms apart."""
    count = len(differences)
    columns = {
        "baseline_first": [True] * count,
        "free": free or [True] * count,
        "baseline": 0.005 * np.exp(differences),
        "variant": [0.005] * count,
        "took": [0.010] * count,
        "at": 0.020 * np.arange(count),
    }
    return Rounds.of_pair(columns, warm_up)


def test_a_bank_comes_out_of_its_file_as_it_went_in(tmp_path):
    bank = pair_of(0.1, 0.2).joined(pair_of(0.3, free=(False,), warm_up=0.5))

    bank.write(tmp_path / "new" / "bank.npz")
    read = Rounds.read(tmp_path / "new" / "bank.npz")

    assert read.pairs == 2
    assert read.pair.tolist() == [0, 0, 1]
    assert read.free.tolist() == [True, True, False]
    assert read.warm_up.tolist() == [0.25, 0.5]
    assert np.array_equal(read.baseline, bank.baseline)


def test_a_replay_draws_whole_pairs_and_takes_their_rounds_in_order():
    bank = pair_of(0.11, 0.12, 0.13).joined(pair_of(0.21, 0.22, 0.23)).joined(pair_of(0.31, 0.32, 0.33))
    replay = Replay(Deck(bank), random.Random(1), pairs=3)

    taken = [[round(replay.round(pair), 4) for _ in range(4)] for pair in range(3)]

    assert sorted(int(10 * rounds[0]) for rounds in taken) == [1, 2, 3]
    for rounds in taken:
        assert len({int(10 * value) for value in rounds}) == 1
        assert rounds[3] == rounds[0]
        assert {round(later - earlier, 2) for earlier, later in itertools.pairwise(rounds)} <= {0.01, -0.02}


def test_a_replay_counts_the_seconds_of_its_rounds_and_of_warming_up():
    replay = Replay(Deck(pair_of(0.1, 0.2)), random.Random(1), pairs=1)

    replay.round(0)

    assert replay.seconds() == pytest.approx(0.25 + 0.010)


def test_a_factor_moves_the_truth_by_as_much():
    replay = Replay(Deck(pair_of(0.1)), random.Random(1), pairs=1, faster=1 / 1.05)

    assert replay.round(0) == pytest.approx(0.1 - np.log(1.05))


def test_mirrored_pairs_have_their_sides_swapped_in_one_half_of_the_draws():
    deck = Deck(pair_of(0.1))

    signs = [Replay(deck, random.Random(seed), pairs=1, mirrored=True).round(0) > 0 for seed in range(200)]

    assert 70 < sum(signs) < 130


def test_waiting_skips_to_the_next_round_that_began_with_free_cores_and_takes_as_long():
    replay = Replay(Deck(pair_of(0.1, 0.2, 0.3, free=(False, False, True))), random.Random(1), pairs=1, patience=1.0)
    replay._next = [0]

    assert replay.wait()

    assert replay.waited == pytest.approx(0.040)
    assert replay.round(0) == pytest.approx(0.3)
    assert replay.free


def test_waiting_goes_on_at_the_pairs_first_round():
    replay = Replay(Deck(pair_of(0.1, 0.2, 0.3, free=(True, False, False))), random.Random(1), pairs=1, patience=1.0)
    replay._next = [1]

    assert replay.wait()

    assert replay.waited == pytest.approx(0.030)
    assert replay.round(0) == pytest.approx(0.1)


def test_cores_that_never_become_free_spend_the_patience():
    replay = Replay(Deck(pair_of(0.1, free=(False,))), random.Random(1), pairs=1, patience=1.0)

    assert not replay.wait()


def test_a_renewed_replay_has_one_pair_more_that_it_had_not_before():
    replay = Replay(Deck(pair_of(0.1).joined(pair_of(0.2))), random.Random(1), pairs=1)

    fresh = replay.renew()

    assert (fresh, replay.pairs) == (1, 2)
    assert {round(replay.round(0), 3), round(replay.round(1), 3)} == {0.1, 0.2}


@pytest.mark.parametrize(("arm", "work"), [("A1", 1.0), ("B5", 1.05), ("B10", 1.10)])
def test_the_streams_show_the_work_that_their_arms_do(arm, work):
    rounds = of_stream("quiet", variant=arm)

    ratio = float(np.median(rounds.variant / rounds.baseline))

    assert rounds.pairs == 21
    assert ratio == pytest.approx(work, rel=0.005)
    assert 0.45 < rounds.baseline_first.mean() < 0.55
