"""PostgreSQL refuses to run as root; this finds a way that works here."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from drystone.core.errors import Unavailable

NOBODY = 65534


@dataclass(frozen=True)
class Privileges:
    """How to start a program with fewer of them: words before its argv, and who must own its files."""

    prefix: tuple[str, ...] = ()
    owner: int | None = None

    def hand_over(self, path: Path) -> None:
        """Give a file or an empty folder to the one who will use it."""
        if self.owner is not None:
            os.chown(path, self.owner, self.owner)


USER_NAMESPACE = Privileges(("unshare", "--user", "--"))
AS_NOBODY = Privileges(
    ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--"), NOBODY
)


def for_server(program: Path, folder: Path) -> Privileges:
    """The first way to run `program` not as root that works; as an ordinary user that is: as it is.

    In a user namespace of its own the program is nobody in particular to itself, yet owns root's files: no chown, no
    extra user. Some container hosts forbid it; then user nobody must be able to reach the program and the folder.
    """
    if os.geteuid() != 0:
        return Privileges()
    if _works(USER_NAMESPACE, ["true"]):
        return USER_NAMESPACE
    if _works(AS_NOBODY, ["test", "-x", str(program)]) and _works(AS_NOBODY, ["test", "-x", str(folder.parent)]):
        return AS_NOBODY
    raise Unavailable(
        "stack.no_unprivileged_user",
        "PostgreSQL does not run as root, and neither `unshare --user` nor `setpriv` to user nobody works here.",
        hint="run drystone as an ordinary user, or put the project where user nobody can read it, outside root's home",
    )


def _works(privileges: Privileges, argv: list[str]) -> bool:
    command = [*privileges.prefix, *argv]
    if not shutil.which(command[0]):
        return False
    return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
