"""Progress: what a log is told of long work and when, and what a terminal shows and forgets."""

import os
import pty
import threading
from collections.abc import Callable, Iterator

import pytest
from screen import Screen

from pytest_edgeai import progress as module
from pytest_edgeai.progress import Live, Progress


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life come at once."""
    monkeypatch.setattr(module, "HEARTBEAT", 0.0)
    monkeypatch.setattr(module, "REDRAW", 0.001)
    monkeypatch.setattr(module, "FIRST_DRAW", 0.0)


def test_a_log_has_a_line_for_each_piece_of_work_and_for_each_step() -> None:
    said: list[str] = []
    progress = Progress(said.append)

    with progress.working("building openvino-int8"):
        pass
    with progress.working("screening", total=2) as step:
        step("openvino-int8")
        step("openvino-fp16")
    progress.say("the cache can't be written")

    assert said == [
        "building openvino-int8",
        "screening openvino-int8 (1 of 2)",
        "screening openvino-fp16 (2 of 2)",
        "the cache can't be written",
    ]


def test_long_work_gives_a_sign_of_life_and_ends_with_its_block(quick: None) -> None:
    beats: list[str] = []
    heard = threading.Event()

    def beat(text: str) -> None:
        beats.append(text)
        heard.set()

    with Progress(lambda _: None, beat).working("building openvino-int8"):
        assert heard.wait(30)
    count = len(beats)

    assert beats[0].startswith("building openvino-int8: 0:0")
    assert not [thread for thread in threading.enumerate() if thread.name == "edgeai-progress" and thread.is_alive()]
    assert len(beats) == count


def test_work_inside_work_is_told_with_the_outer_ones_count(quick: None) -> None:
    beats: list[str] = []
    heard = threading.Event()

    def beat(text: str) -> None:
        beats.append(text)
        heard.set()

    progress = Progress(lambda _: None, beat)
    with progress.working("screening", total=8) as step:
        step("one")
        with progress.working("scoring one"):
            heard.clear()
            assert heard.wait(30)

    assert beats[-1].startswith("scoring one (1 of 8): 0:0")


@pytest.mark.parametrize(
    ("steps", "seconds", "left"),
    [(1, [0], None), (2, [0, 10], 30.0), (2, [0, 10, 14], 26.0), (2, [0, 10, 80], None), (4, [0, 10, 20, 30], 10.0)],
)
def test_the_time_left_is_what_the_steps_so_far_took(steps: int, seconds: list[int], left: float | None) -> None:
    work = module._Work("screening", 4, begun=0.0, told=0.0)
    for place in range(steps):
        work.place, work.stepped = place + 1, float(seconds[place])

    assert work.left(float(seconds[-1])) == left


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (9.6, "0:10"), (65, "1:05"), (3661, "1:01:01")])
def test_times_are_written_like_a_clocks(seconds: float, text: str) -> None:
    assert module._clock(seconds) == text


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\rb", "a\x07b"])
def test_names_cannot_write_control_characters(text: str) -> None:
    said: list[str] = []

    with Progress(said.append).working(text):
        pass

    assert said[0].isprintable()


@pytest.fixture
def terminal() -> Iterator[tuple[int, Callable[[], str]]]:
    """A terminal's descriptor, and what was written to it since."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)

    def read() -> str:
        found = b""
        while True:
            try:
                found += os.read(ours, 65536)
            except BlockingIOError:
                return found.decode().replace("\r\n", "\n")

    yield theirs, read
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("before", ["", "test_gates.py ..."])
def test_a_live_line_keeps_pytests_place_and_leaves_nothing(
    terminal, monkeypatch: pytest.MonkeyPatch, columns: int, before: str
) -> None:
    descriptor, read = terminal
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    screen = Screen(columns)
    live = Live(descriptor, lambda: len(before), coloured=True, ascii_only=False)
    screen.show(before)

    live.draw("screening onnxruntime-int8-static of 模型 (3 of 8)", "0:12, about 0:20 left", 0.25)
    screen.show(read())
    drawn = screen.rows[-1]
    live.draw("scoring", "0:13", 0.25)
    live.erase()
    live.erase()
    screen.show(read() + ".")

    assert drawn.startswith("edgeai ")
    assert drawn.endswith("0:12" if columns == 20 else "0:12, about 0:20 left")
    assert ("━━━━────────────" in drawn) == (columns >= 80)
    assert [row for row in screen.rows if row] == [before + "."]


def test_a_terminal_without_unicode_gets_none(terminal) -> None:
    descriptor, read = terminal

    Live(descriptor, lambda: 0, coloured=False, ascii_only=True).draw("building ümläut of 模型", "0:01", 0.5)

    assert read().isascii()


def test_a_terminal_that_is_gone_is_not_drawn_on() -> None:
    read, write = os.pipe()
    os.close(read)

    Live(write, lambda: 0, coloured=False, ascii_only=False).draw("building", "0:01", None)

    os.close(write)


def test_a_fact_during_work_takes_the_live_lines_place(quick: None, terminal) -> None:
    descriptor, read = terminal
    said: list[str] = []
    progress = Progress(said.append, None, Live(descriptor, lambda: 0, coloured=False, ascii_only=False))
    screen = Screen(80)

    with progress.working("building openvino-int8"):
        progress.say("the cache can't be written")
    screen.show(read())

    assert said == ["the cache can't be written"]
    assert [row for row in screen.rows if row] == []
