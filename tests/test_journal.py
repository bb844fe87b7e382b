"""The journal: facts of several processes, each in a file of its own, readable after any crash."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_edgeai.journal import Journal, read
from pytest_edgeai.records import Refusal


def test_what_is_written_is_read_in_order(tmp_path):
    journal = Journal(tmp_path, "main")

    journal.write("selected", "", 3)
    journal.write("refusal", "abc", Refusal(recipe="fake-int8", reason="It has no weights."))

    assert list(read(tmp_path)) == [
        ("selected", "", 3),
        ("refusal", "abc", {"recipe": "fake-int8", "reason": "It has no weights."}),
    ]


def test_a_journal_without_facts_leaves_nothing_behind(tmp_path):
    Journal(tmp_path / "run", "main")

    assert not (tmp_path / "run").exists()
    assert list(read(tmp_path / "run")) == []


def test_the_folder_is_made_with_the_first_fact(tmp_path):
    Journal(tmp_path / "deep" / "run", "main").write("selected", "", 1)

    assert list(read(tmp_path / "deep" / "run")) == [("selected", "", 1)]


def test_facts_of_several_processes_come_process_after_process(tmp_path):
    gw1, gw0 = Journal(tmp_path, "gw1"), Journal(tmp_path, "gw0")

    for number in range(3):
        gw1.write("gate", "abc", f"gw1-{number}")
        gw0.write("gate", "abc", f"gw0-{number}")

    facts = [fact for _, _, fact in read(tmp_path)]
    assert facts == ["gw0-0", "gw0-1", "gw0-2", "gw1-0", "gw1-1", "gw1-2"]


@pytest.mark.parametrize("kept", range(1, 40, 6))
def test_a_last_line_that_was_written_by_half_is_left_out(tmp_path, kept):
    whole = Journal(tmp_path, "gw0")
    whole.write("gate", "abc", "whole")
    killed = Journal(tmp_path, "gw1")
    killed.write("gate", "abc", "before")
    before = (tmp_path / "journal-gw1.jsonl").stat().st_size
    killed.write("gate", "abc", "in the middle of this one")
    with (tmp_path / "journal-gw1.jsonl").open("r+b") as stream:
        stream.truncate(before + kept)

    facts = [fact for _, _, fact in read(tmp_path)]

    assert facts == ["whole", "before"]


@pytest.mark.parametrize("text", ["two\nlines", "a\rb", "a\u2028b\x0bc\x0cd\x85e", "ümläut 🙂", 'a "quoted" \\ path'])
def test_any_text_survives(tmp_path, text):
    Journal(tmp_path, "main").write("note", "abc", text)

    assert [fact for _, _, fact in read(tmp_path)] == [text]


def test_text_that_is_not_utf_8_loses_its_odd_bytes_and_nothing_else(tmp_path):
    name = b"model-\xff.onnx".decode("utf-8", "surrogateescape")

    Journal(tmp_path, "main").write("note", "abc", Refusal(recipe=name, reason="It is empty."))

    assert next(read(tmp_path))[2] == {"recipe": "model-?.onnx", "reason": "It is empty."}


def test_what_is_no_journal_is_left_alone(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "journal-main.jsonl.tmp").write_text("no json at all\n")

    assert list(read(tmp_path)) == []


def test_a_process_that_is_killed_loses_no_fact_that_it_had_written(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from pytest_edgeai.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), 'killed')\n"
        "for number in range(100): journal.write('gate', 'abc', number)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)

    assert ended.returncode < 0
    assert [fact for _, _, fact in read(tmp_path)] == list(range(100))


def _write(folder: Path, facts: int) -> None:
    journal = Journal(folder, f"w{os.getpid()}")
    for number in range(facts):
        journal.write("gate", "abc", [os.getpid(), number])


def test_several_processes_write_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(tmp_path, 200)) for _ in range(3)]

    for process in processes:
        process.start()
    for process in processes:
        process.join()

    found: dict[int, list[int]] = {}
    for _, _, (who, number) in read(tmp_path):
        found.setdefault(who, []).append(number)
    assert list(found.values()) == [list(range(200))] * 3
