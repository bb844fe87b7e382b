"""What models say about texts, judged: by documents of one name, by gaps, against the reference; on generators whose logits are known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pytest_edgeai import corpus
from pytest_edgeai.dataset import CONFIRMATION, SELECTION
from pytest_edgeai.errors import DatasetError, UnsupportedError, UsageError
from pytest_edgeai.judge.claims import Claim
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.language.text import Query, Texts
from pytest_edgeai.measure import texts
from pytest_edgeai.reading import Reading
from pytest_edgeai.records import Outcome

VOCABULARY = 8
RULES = RIGOR["quick"]


class Certain:
    """Finds the next number likelier than each of the others by ``margin`` nats; for tokens of ``blind`` it finds all alike."""

    vocabulary, context = VOCABULARY, 64

    def __init__(self, margin: float, blind: int = -1) -> None:
        self.margin, self.blind = margin, blind

    def generate(self, prompt, count):
        yield from range(count)

    def logits(self, tokens, chunk):
        for first in range(0, len(tokens), chunk):
            part = tokens[first : first + chunk]
            yield (
                np.eye(VOCABULARY, dtype=np.float32)[(part + 1) % VOCABULARY]
                * np.where(part == self.blind, 0, self.margin)[:, None]
            )

    def placement(self):
        return {}


MODELS = {"source": Certain(2.0), "same": Certain(2.0), "worse": Certain(1.0), "blind": Certain(2.0, blind=3)}


class Files:
    """Texts of digits, a token each."""

    vocabulary, window = VOCABULARY, 32

    def __init__(self, folder: Path, given: corpus.Corpus) -> None:
        self.folder, self._texts = folder, given.texts

    def tokens(self) -> Path:
        path = self.folder / "tokens.npz"
        gaps = [(ids("".join(pair)), len(pair[0])) for gap in self._texts.gaps for pair in gap.pairs]
        texts.write(path, [ids(one.text) for one in self._texts.documents], gaps, self.window)
        return path

    def texts(self) -> Path:
        path = self.folder / "texts.json"
        path.write_text(json.dumps({"documents": [one.text for one in self._texts.documents], "gaps": []}))
        return path


def ids(text: str) -> np.ndarray:
    return np.array([int(sign) for sign in text], np.int32)


@pytest.fixture
def reading(tmp_path: Path):
    """Of these items, by models that are read in this process."""

    def start(*items: dict[str, object], population: str = "unseen") -> Reading:
        (tmp_path / "texts.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        found = corpus.read(tmp_path / "texts.jsonl")
        return Reading(
            found, Files(tmp_path, found), "source", lambda name, files: texts.read(MODELS[name], **files), population
        )

    return start


def documents(count: int, *, names: int = 0) -> list[dict[str, object]]:
    draw = np.random.default_rng(5)
    made = [
        {"text": "".join(str((int(start) + step) % VOCABULARY) for step in range(12))}
        for start in draw.integers(0, 8, count)
    ]
    return [{**one, "name": f"article {place % names}"} for place, one in enumerate(made)] if names else made


def claim(quantity: str, operator: str, limit: float, other: str | None = None, subject: str = "worse") -> Claim:
    return Claim(subject, quantity, operator, limit, other)


def test_a_perplexity_is_of_all_predicted_tokens(reading) -> None:
    found = reading(*documents(40)).find(claim("perplexity", "<=", 5), RULES)

    assert found.estimate == pytest.approx((math.e + VOCABULARY - 1) / math.e)
    assert found.outcome is Outcome.PASS
    assert found.spent == "40 documents, 440 tokens in all"


def test_documents_of_one_name_are_one(reading) -> None:
    one = reading(*documents(80, names=10))

    found = one.find(claim("perplexity", "<=", 50), RULES)

    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.notes == ["10 documents can't prove anything; it needs at least 30, with --edge-dataset"]
    assert one.figures("worse", "evaluation")["perplexity"].n == 10


def test_a_divergence_is_from_the_reference(reading) -> None:
    one = reading(*documents(40))
    p, q = (np.exp([margin, *[0] * 7]) / np.exp([margin, *[0] * 7]).sum() for margin in (2.0, 1.0))

    assert one.find(claim("kl_divergence", "<=", 1), RULES).estimate == pytest.approx(
        np.sum(p * np.log(p / q)), abs=1e-5
    )
    assert one.figures("same", "evaluation")["kl_divergence"].estimate == pytest.approx(0, abs=1e-9)
    with pytest.raises(UsageError, match="compares with the reference already"):
        one.find(claim("kl_divergence", "<=", 1, other="source"), RULES)


def test_agreement_is_of_tokens(reading) -> None:
    one = reading(*documents(80))

    assert one.find(claim("agreement", ">=", 0.9, subject="same"), RULES).outcome is Outcome.PASS
    blind = one.figures("blind", "evaluation")["agreement"].estimate
    assert blind == pytest.approx(7 / 8, abs=0.05)


def test_gaps_are_filled_by_the_likeliest_choice_or_token(reading) -> None:
    one = reading(
        {"prompt": "012", "completion": "34"},
        {"prompt": "012", "completion": "35"},
        {"prompt": "456", "choices": ["7", "1", "2"], "answer": 0},
        {"prompt": "456", "choices": ["7", "1", "2"], "answer": 1},
    )

    assert one.figures("source", "evaluation")["accuracy"].estimate == 0.5
    with pytest.raises(UnsupportedError, match="perplexity needs documents"):
        one.find(claim("perplexity", "<=", 5), RULES)


@pytest.fixture
def of_tasks(tmp_path: Path):
    """A reading of what tasks ask: names of documents, each with the number of its right choice of two; the likelier one is the first."""

    def start(*asked: tuple[str, int]) -> Reading:
        gaps = tuple(
            Query(name=name, pairs=(("012", "3"), ("012", "5")), rewards=(float(right == 0), float(right == 1)))
            for name, right in asked
        )
        places = np.arange(len(gaps))
        found = corpus.Corpus(
            texts=Texts(documents=(), gaps=gaps),
            documents={SELECTION: places[:0], CONFIRMATION: places[:0]},
            gaps={SELECTION: places[::2], CONFIRMATION: places[1::2]},
            path="lm_eval:some (0.4.13)",
            harness=lambda answers: [
                gap.rewards[int(np.argmax([total for total, _ in said]))]
                for gap, said in zip(gaps, answers, strict=True)
            ],
            metric="acc",
        )
        return Reading(found, Files(tmp_path, found), "source", lambda name, files: texts.read(MODELS[name], **files))

    return start


def test_a_task_whose_right_choice_is_always_the_first_is_no_constant_answer(of_tasks) -> None:
    kept = of_tasks(*((f"document {number}", 0) for number in range(200))).find(
        claim("accuracy", ">=", 0.95, other="source", subject="same"), RULES
    )

    assert kept.outcome is Outcome.PASS
    assert not any("constant" in note for note in kept.notes)


def test_gaps_whose_right_choice_is_always_the_first_are_filled_by_a_constant_answer(reading) -> None:
    always = [{"prompt": "012", "choices": ["3", "5"], "answer": 0} for _ in range(200)]
    found = reading(*always).find(claim("accuracy", ">=", 0.95, other="source", subject="same"), RULES)

    assert found.outcome is not Outcome.PASS


def test_what_several_tasks_ask_about_one_document_counts_once(of_tasks) -> None:
    apart = of_tasks(*((f"document {number}", number % 3 // 2) for number in range(240)))
    together = of_tasks(*((f"document {number % 60}", number % 3 // 2) for number in range(240)))
    one, other = (each.figures("source", "evaluation")["accuracy"] for each in (apart, together))

    assert one.estimate == other.estimate == pytest.approx(2 / 3)
    assert other.high - other.low == pytest.approx(2 * (one.high - one.low), rel=0.1)


def test_a_gap_in_which_nothing_is_predicted_is_told(reading, monkeypatch) -> None:
    one = reading({"prompt": "0", "completion": "1"})
    monkeypatch.setattr(Files, "window", 1)

    with pytest.raises(DatasetError, match="goes on with 1 tokens, and the model attends to 1"):
        one.figures("source", "evaluation")


def test_without_gaps_there_is_no_accuracy(reading) -> None:
    with pytest.raises(UnsupportedError, match="accuracy needs prompts that go on in a right way"):
        reading(*documents(40)).find(claim("accuracy", ">=", 0.5), RULES)


def test_bits_per_byte_are_of_all_bytes(reading) -> None:
    found = reading(*documents(40)).find(claim("bits_per_byte", "<=", 3), RULES)

    each = math.log((math.e + VOCABULARY - 1) / math.e) / math.log(2)
    assert found.estimate == pytest.approx(each * 11 / 12)


def test_a_claim_on_exactly_these_texts_needs_all_of_them_compared(reading, monkeypatch) -> None:
    monkeypatch.setattr(texts, "KEPT_BYTES", 20 * 11 * VOCABULARY * 4)
    one = reading(*documents(40), population="dataset")

    with pytest.raises(UnsupportedError, match="give fewer texts"):
        one.find(claim("kl_divergence", "<=", 1), RULES)


def test_what_was_not_compared_is_told(reading, monkeypatch) -> None:
    monkeypatch.setattr(texts, "KEPT_BYTES", 35 * 11 * VOCABULARY * 4)

    found = reading(*documents(40)).find(claim("kl_divergence", "<=", 1), RULES)

    assert found.outcome is Outcome.PASS
    assert found.notes == [
        "35 of 40 documents were compared with the reference, the first ones of the file: its distributions take no more than 2 GB"
    ]
