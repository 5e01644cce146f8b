"""How far a process stands back where processors are short.

nice(2) alone says little on Linux: with autogroups each session is scheduled as one, all of them alike, and nice values count
within a session only. A session's own value is in `/proc/PID/autogroup` (sched(7)).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

# Who is not root is told to come again when anybody has set such a value within a tenth of a second.
_TRIES, _PAUSE_S = 5, 0.1


def stand_back(nice: int) -> None:
    """Have this process, and all that it starts from now on, stand back so far; nice: 0 to 19, for nice(2).

    A session that it shares with others, such as a shell's, is left as it is.
    """
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        share(os.getpid())


def share(leader: int) -> None:
    """Give the session that this process leads our own nice value. Does nothing where there are no autogroups."""
    for _ in range(_TRIES):
        try:
            Path(f"/proc/{leader}/autogroup").write_text(str(os.getpriority(os.PRIO_PROCESS, 0)), "ascii")
            return
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        except OSError:
            return
