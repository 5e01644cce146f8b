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
import struct
import sys

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CLONE_NEWIPC = 0x08000000
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_RULE_PATH_BENEATH = 1
# Every right of Landlock's first version; of files, and of files and folders.
_LANDLOCK_ALL = 0x1FFF
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
# Where systems keep libraries and what these look up. Python's own places are asked of Python.
_LIBRARIES = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share",
    "/usr/local/share",
    "/lib",
    "/lib64",
    "/nix/store",
)
_FILES = ("/dev/null", "/dev/urandom", "/etc/ld.so.cache", "/etc/mime.types", "/etc/localtime")


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
    """Give up, as far as this system allows it: new privileges, the network, all writing to file systems, all programs,
    and reading any file but Python's and the system's libraries. Descriptors that are open stay so.
    """
    if sys.platform != "linux":
        return
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _leave_network()
    _leave_files()


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


def _leave_files() -> None:
    # Landlock (Linux 5.13): rights that a ruleset handles and no rule grants are gone. The numbers of its calls are the same
    # on every architecture. Libraries stay readable, since codecs and readers load their parts when first needed.
    with contextlib.suppress(OSError, AttributeError):
        handled = ctypes.c_uint64(_LANDLOCK_ALL)
        ruleset = _LIBC.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), 0)
        if ruleset < 0:
            return
        for folder in {*sys.path, f"{sys.base_prefix}/lib", f"{sys.prefix}/lib", *_LIBRARIES} - {""}:
            _grant(ruleset, folder, _READ_FILE | _READ_FOLDER)
        for file in _FILES:
            _grant(ruleset, file, _READ_FILE)
        _LIBC.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)


def _grant(ruleset: int, path: str, rights: int) -> None:
    with contextlib.suppress(OSError):  # it is not there
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", rights, place)
        _LIBC.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
        os.close(place)
