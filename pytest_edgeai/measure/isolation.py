"""Isolation: this process without a network.

Nothing but the standard library is imported here: a process with several threads may make no user namespace (EINVAL of unshare(2)), and numpy alone
starts some.
"""

import contextlib
import ctypes
import os
import sys
from pathlib import Path


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
