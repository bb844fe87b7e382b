"""Memory: the process' peak, what the model itself adds to it, and how much of that a device could do without."""

import ctypes
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.protocols import Metric
from pytest_edgeai.units import show

_PROC = Path("/proc")
_NO_FILE = (b"/dev/shm/", b"/dev/zero", b"/memfd:", b"/SYSV")
"""How the names of mappings begin that have a name, and no file that their pages could be read from again."""
_UNKNOWN = 0.02
"""Share of a footprint that may be unknown when several processes make it up."""
_ENDED = "a process that the engine started has ended, and nothing tells what memory it had"


class Memory:
    """Bytes resident in RAM, of the worker and of the processes that it started.

    ``peak`` is the kernel's own high-water mark (``VmHWM``), which misses no spike; ``footprint`` is the model's own part of it: the mark is
    reset just before loading (``5`` written to ``/proc/self/clear_refs``, proc(5)), else the spikes of importing the engine would hide the
    model. File-backed pages that the model touches count.

    That mark knows no kinds of pages. So the kinds are told for the time after the first calls: what no file backs is ``anonymous``, what lies in
    data files is ``mapped`` (programs and libraries are neither), and what of that the calls after the first one did not touch is
    ``inactive``. A system that is short of memory drops such pages at no cost, so what a device must have lies between ``footprint`` without
    ``inactive`` and ``footprint``. Linux only.
    """

    name = "memory"
    units: Mapping[str, str] = dict.fromkeys(("footprint", "peak", "anonymous", "mapped", "inactive"), "bytes")
    per = "process"
    spare: Mapping[str, str] = {"footprint": "inactive", "peak": "inactive"}

    def __init__(self) -> None:
        self._before = _Tree()
        self._earlier = 0
        self._faults = 0

    def unsupported(self) -> str | None:
        """The kernel must let a process look at its own pages and reset its own mark."""
        try:
            self.arm()
        except (OSError, UnsupportedError) as error:
            told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return f"the kernel's memory high-water mark can't be read and reset here ({told})"
        return None

    def arm(self) -> None:
        """Reset the mark, noting what it was and what is resident."""
        self._earlier = max(self._earlier, _status("self", "VmHWM"))
        # What an import has freed the heap may have kept, and a model that fits into it would seem to need nothing.
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)
        self._faults = _faults_of_ended()
        self._before = _look()
        _clear_refs("5", ("self", *self._before.children))

    def settle(self) -> None:
        """Forget which pages were touched so far: what calls need is touched by the next ones, too."""
        _clear_refs("1", ("self", *_descendants()[0]))

    def read(self, calls: int) -> Mapping[str, float]:  # noqa: ARG002 - whatever their number
        """The parts in bytes since :meth:`arm`, ``inactive`` since :meth:`settle`.

        Raises UnsupportedError where they can't be told: a process has ended, the peaks of several need not have come together, or pages are
        where no mark sees them.
        """
        mark, before, now = _status("self", "VmHWM"), self._before, _look()
        if now.ended > before.ended or _faults_of_ended() != self._faults:
            raise UnsupportedError(_ENDED)
        for field, where in (("VmSwap", "swapped out"), ("HugetlbPages", "in hugetlbfs")):
            try:
                uncounted = any(_status(pid, field) for pid in ("self", *now.children))
            except OSError:  # just now
                raise UnsupportedError(_ENDED) from None
            if uncounted:
                raise UnsupportedError(f"a part of it is {where}, which the kernel's high-water mark doesn't count")
        peak = _joint_peak(mark, now, before)
        mapped = max(0, now.mapped - before.mapped)
        return {
            "footprint": float(max(0, peak - before.resident)),
            "peak": float(max(peak, self._earlier)),
            "anonymous": float(max(0, now.anonymous - before.anonymous)),
            "mapped": float(mapped),
            "inactive": float(min(mapped, now.inactive)),
        }


@dataclass(slots=True)
class _Tree:
    """Bytes of this process and what it started, each page once."""

    resident: int = 0
    anonymous: int = 0
    mapped: int = 0
    inactive: int = 0
    own: int = 0
    """Resident in this process, what it shares with others included: what its high-water mark is of."""
    below_marks: int = 0
    """By how much the others are below their own high-water marks."""
    children: tuple[str, ...] = ()
    ended: int = 0
    """Of the others, those that have ended and are not waited for yet."""


def _look() -> _Tree:
    """What is resident now, exactly: ``smaps`` counts pages, the sums in ``status`` may lag behind. Raises UnsupportedError."""
    children, ended = _descendants()
    tree = _Tree(children=children, ended=ended)
    tree.own = _add(tree, "self")
    try:
        for pid in children:
            tree.below_marks += max(0, _status(pid, "VmHWM") - _add(tree, pid))
    except PermissionError as error:
        raise UnsupportedError(f"a process that it started (PID {pid}) keeps its memory to itself") from error
    except OSError:  # it is ending, or has just ended
        tree.ended += 1
    return tree


def _add(tree: _Tree, pid: str) -> int:
    """Add the pages of one process; its own resident bytes.

    Pages without a file count by their proportional share, so that what forks have in common adds up to one. Pages of files count in full for
    this process; for others only what is theirs alone, because they share the rest with this one.
    """
    resident = 0
    data: dict[bytes, list[int]] = {}
    programs = set()
    for flags, path, size in _mappings(pid):
        resident += size[b"Rss:"]
        if not path.startswith(b"/") or path.startswith(_NO_FILE):
            tree.resident += size[b"Pss:"]
            tree.anonymous += size[b"Pss:"]
            continue
        pages = size[b"Rss:"] if pid == "self" else size[b"Private_Clean:"] + size[b"Private_Dirty:"]
        copied = min(pages, size[b"Anonymous:"])
        tree.resident += pages
        tree.anonymous += copied
        if b"x" in flags:
            programs.add(path)
        sums = data.setdefault(path, [0, 0])
        sums[0] += pages - copied
        sums[1] += max(0, pages - copied - size[b"Referenced:"])
    for path in data.keys() - programs:
        tree.mapped += data[path][0]
        tree.inactive += data[path][1]
    return resident


def _mappings(pid: str) -> Iterator[tuple[bytes, bytes, dict[bytes, int]]]:
    """Flags, path and sizes in bytes of each mapping of a process: proc_pid_smaps(5). One at a time, because this process is measured."""
    flags, path, size = b"", b"", dict[bytes, int]()
    with (_PROC / pid / "smaps").open("rb") as lines:
        for line in lines:
            words = line.split(maxsplit=5)
            if not words[0].endswith(b":"):
                if size:
                    yield flags, path, size
                flags, path, size = words[1], words[5].rstrip(b"\n") if len(words) > 5 else b"", {}
            elif words[-1] == b"kB":
                size[words[0]] = int(words[1]) * 1024
    if size:
        yield flags, path, size


def _joint_peak(mark: int, now: _Tree, before: _Tree) -> int:
    """The most that was resident at one time, from the high-water mark of this process. Raises UnsupportedError where that is unknown."""
    if not now.children:
        # The mark may lag behind, too: the kernel adds up its processors' counts of pages only now and then.
        return max(mark, now.own)
    least = max(mark, now.resident)
    most = now.resident + max(0, mark - now.own) + now.below_marks
    if most - least > _UNKNOWN * (most - before.resident):
        low, high = (show(max(0, one - before.resident), "bytes") for one in (least, most))
        raise UnsupportedError(
            f"it runs in {len(now.children) + 1} processes, whose peaks need not have come together: {low} to {high}"
        )
    return most


def _descendants() -> tuple[tuple[str, ...], int]:
    """The processes that this one started and they in turn, as numbers; and how many of them have ended."""
    parents, ended = {}, set()
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may have any signs in it.
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        parents[stat.parent.name] = parent
        if state == "Z":
            ended.add(stat.parent.name)
    found = [str(os.getpid())]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    others = found[1:]
    return tuple(pid for pid in others if pid not in ended), len(ended.intersection(others))


def _faults_of_ended() -> int:
    """Page faults of the processes that this one has waited for, and they in turn: more than before once another one has ended."""
    import resource  # Unix only

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_minflt + used.ru_majflt


def _clear_refs(value: str, pids: Iterable[str]) -> None:
    for pid in pids:
        (_PROC / pid / "clear_refs").write_text(value)


def _status(pid: str, field: str) -> int:
    """Bytes."""
    for line in (_PROC / pid / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{pid}/status has no {field}")


@hookimpl
def edge_metrics() -> Sequence[Metric]:
    """The metric of this file."""
    return (Memory(),)
