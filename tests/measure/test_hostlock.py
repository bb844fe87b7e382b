"""The host's lock: builds share it, measuring has it alone, and nobody who died holds it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_edgeai.errors import EdgeError
from pytest_edgeai.measure import hostlock
from pytest_edgeai.measure.hostlock import HostLock
from pytest_edgeai.progress import Progress

HOLDER = """
import sys
from functools import partial
from pathlib import Path
from pytest_edgeai.measure.hostlock import HostLock
from pytest_edgeai.progress import Progress

lock = HostLock(Progress(partial(print, flush=True)).working, Path(sys.argv[1]))
with getattr(lock, sys.argv[2])():
    print("held", flush=True)
    sys.stdin.readline()
print("freed", flush=True)
"""


class Holder:
    """Another process that holds the lock."""

    def __init__(self, path: Path, mode: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "held"

    def free(self) -> None:
        """Returns when the lock is free."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self._line() == "freed"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hostlock, "NOTICE_AFTER", 0.2)
    return tmp_path / "locks" / "host.lock"


@pytest.fixture
def hold(path: Path) -> Iterator[Callable[[str], Holder]]:
    """Starts another process that holds the lock; it ends with the test."""
    holders: list[Holder] = []

    def start(mode: str) -> Holder:
        holders.append(Holder(path, mode))
        return holders[-1]

    yield start
    for holder in holders:
        holder.process.kill()
        holder.process.communicate()


def test_builds_share_it(path: Path, hold: Callable[[str], Holder]) -> None:
    said: list[str] = []
    hold("building")

    with HostLock(Progress(said.append).working, path).building():
        hold("building")

    assert said == []


@pytest.mark.parametrize(
    ("theirs", "ours", "busy"),
    [
        ("measuring", "measuring", "something else on this machine is being built or measured"),
        ("measuring", "building", "something else on this machine is being measured"),
        ("building", "measuring", "something else on this machine is being built or measured"),
    ],
)
def test_measuring_has_it_alone_and_who_waits_is_told(
    path: Path, hold: Callable[[str], Holder], theirs: str, ours: str, busy: str
) -> None:
    holder = hold(theirs)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        holder.free()

    with getattr(HostLock(Progress(say).working, path), ours)():
        told = list(said)

    assert told == [f"waiting: {busy}"]


@pytest.mark.parametrize("mode", ["building", "measuring"])
def test_a_holder_that_is_killed_frees_it(path: Path, hold: Callable[[str], Holder], mode: str) -> None:
    holder = hold(mode)
    said: list[str] = []

    holder.process.kill()
    holder.process.communicate()
    with HostLock(Progress(said.append).working, path).measuring():
        pass

    assert said == []


def test_a_test_that_fails_frees_it(path: Path, hold: Callable[[str], Holder]) -> None:
    lock = HostLock(Progress(print).working, path)

    with pytest.raises(RuntimeError, match="the test failed"), lock.measuring():
        raise RuntimeError("the test failed")

    hold("measuring").free()
    assert lock._measuring == 0


def test_nested_use_is_free_and_the_outermost_end_frees_it(path: Path, hold: Callable[[str], Holder]) -> None:
    lock = HostLock(Progress(print).working, path)

    with lock.measuring(), lock.building(), lock.measuring(), lock.building():
        pass
    with lock.building(), lock.building():
        pass

    hold("measuring").free()


def test_who_builds_inside_measuring_keeps_others_out(path: Path, hold: Callable[[str], Holder]) -> None:
    said: list[str] = []
    lock = HostLock(Progress(said.append).working, path)

    with lock.measuring():
        with lock.building():
            pass
        other = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), "building"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdout is not None
        waiting = other.stdout.readline().strip()
    held = other.stdout.readline().strip()
    other.communicate("\n")

    assert (waiting, held) == ("waiting: something else on this machine is being measured", "held")


def test_a_build_cannot_start_measuring(path: Path) -> None:
    lock = HostLock(Progress(print).working, path)

    with lock.building(), pytest.raises(RuntimeError, match="upgrade"), lock.measuring():
        pass

    assert lock._measuring == 0


def test_a_place_that_somebody_else_made_first_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"pytest-edgeai-{os.getuid()}").symlink_to(tmp_path / "theirs")

    with HostLock(Progress(print).working).measuring():
        pass

    assert list((tmp_path / "theirs").iterdir()) == []
    assert (tmp_path / "cache/pytest-edgeai/lock/host.lock").exists()


def test_a_place_that_others_may_write_is_made_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / f"pytest-edgeai-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)

    HostLock(Progress(print).working)

    assert (folder / "host.lock").exists()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_without_any_place_for_it_the_error_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    with pytest.raises(EdgeError, match=r"There is no folder for the host's lock: .* Let TMPDIR name a folder of your"):
        HostLock(Progress(print).working)


def test_waiting_ends_with_an_error_that_names_the_lock(
    path: Path, hold: Callable[[str], Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostlock, "GIVE_UP_AFTER", 0.2)
    hold("measuring")

    with (
        pytest.raises(EdgeError, match=rf"is being measured for more than 0 minutes; the lock is {path}\."),
        HostLock(Progress(print).working, path).building(),
    ):
        pass
