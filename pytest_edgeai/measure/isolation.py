"""Isolation: this process without a network, and with less than the whole disk and the whole memory.

Nothing but the standard library is imported here: a process with several threads may make no user namespace (EINVAL of unshare(2)), and numpy alone
starts some.
"""

import contextlib
import ctypes
import os
import shutil
import sys
from pathlib import Path


def limit_files(folder: str) -> None:
    """A file of this process may take nine tenths of what is free in ``folder``, or what it might so far: an endless one must not fill a disk.

    Writing more fails with "File too large" (Python ignores SIGXFSZ): setrlimit(2).
    """
    if sys.platform == "win32":
        return
    import resource

    most, (soft, hard) = shutil.disk_usage(folder).free * 9 // 10, resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft not in (resource.RLIM_INFINITY, hard):
        most = max(most, soft)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def die_first() -> None:
    """Where memory runs out, the system shall end this process, not pytest's: proc_pid_oom_score_adj(5).

    There is no limit on the address space: engines reserve several times what they use (measured: 864 MB for 301 MB resident with OpenVINO), and
    drivers of accelerators map more than there is.
    """
    with contextlib.suppress(OSError):  # it may be forbidden, or this is not Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


def leave_network() -> str | None:
    """Move this process into a network namespace of its own, which has no device that is up; why not, where the system forbids it.

    network_namespaces(7); a user without privileges has to make a user namespace with it, and keeps its own number there: user_namespaces(7).
    """
    if sys.platform != "linux":
        return f"{sys.platform} has no network namespaces"
    new_user, new_network = 0x10000000, 0x40000000
    library, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if library.unshare(new_network) == 0:
        return None
    if library.unshare(new_user | new_network) != 0:
        return f"the system allows no network namespace ({os.strerror(ctypes.get_errno())})"
    # The network is gone already; where these are forbidden, the user is merely called "nobody" and may do what it could before.
    with contextlib.suppress(OSError):
        for name, text in (("uid_map", f"{user} {user} 1"), ("setgroups", "deny"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(text)
    return None
