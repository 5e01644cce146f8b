"""What a process may give up before it reads a stranger's file.

`limit_self` sets the limits that must hold. The rest is taken where the system offers it to an ordinary process and
left where not; it stands behind the limits, not in their place.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CLONE_NEWIPC = 0x08000000
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
# Every right of Landlock's first version but execute, read file and read folder (bits 0, 2 and 3).
_LANDLOCK_ALL_WRITES = 0x1FFF & ~0b1101


def limit_self(*, memory_bytes: int, cpu_s: int) -> None:
    """Limit this process for good: address space, CPU; no files written, no core, 64 descriptors."""
    _limit(resource.RLIMIT_CPU, cpu_s, cpu_s + 1)  # SIGXCPU tells the reason; SIGKILL a second later is certain
    _limit(resource.RLIMIT_AS, memory_bytes, memory_bytes)
    _limit(resource.RLIMIT_FSIZE, 0, 0)
    _limit(resource.RLIMIT_NOFILE, 64, 64)
    _limit(resource.RLIMIT_CORE, 0, 0)


def limit_wall(wall_s: float | None) -> None:
    """End this process so much later; None takes that back. Stands behind the zygote's clock, should that be gone."""
    signal.setitimer(signal.ITIMER_REAL, 0 if wall_s is None else wall_s + 1)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Linux only; not inherited by a fork."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def give_up_rights() -> None:
    """Give up new privileges, the network and all writing to file systems, as far as this system allows it."""
    if sys.platform != "linux":
        return
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _leave_network()
    _forbid_writing()


def _limit(which: int, soft: int, hard: int) -> None:
    # macOS refuses some limits (RLIMIT_AS); a lower limit that already holds is kept.
    with contextlib.suppress(ValueError, OSError):
        _, present = resource.getrlimit(which)
        if present != resource.RLIM_INFINITY:
            soft, hard = min(soft, present), min(hard, present)
        resource.setrlimit(which, (soft, hard))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            _LIBC.prctl(option, value, 0, 0, 0)


def _leave_network() -> None:
    # A new network namespace has no way out. Root may make one; others only inside a user namespace of their own.
    with contextlib.suppress(OSError, AttributeError):
        if _LIBC.unshare(_CLONE_NEWNET | _CLONE_NEWIPC) != 0:
            _LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC)


def _forbid_writing() -> None:
    # Landlock (Linux 5.13): rights that a ruleset handles and no rule grants are gone. The numbers of its calls are
    # the same on every architecture. Reading stays, since codecs and libraries load their parts when first needed.
    with contextlib.suppress(OSError, AttributeError):
        syscall = _LIBC.syscall
        handled = ctypes.c_uint64(_LANDLOCK_ALL_WRITES)
        ruleset = syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), 0)
        if ruleset >= 0:
            syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
            os.close(ruleset)
