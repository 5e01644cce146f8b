"""What `doctor` and `env check` can find: a fixed set of codes, and the report they come in.

docs/guides/troubleshooting.md explains each code; a test keeps both equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Code(StrEnum):
    """What can be wrong; stable, for programs to switch on."""

    ENV_UNSAFE_LINE = "env.unsafe_line"
    ENV_UNKNOWN = "env.unknown"
    ENV_MISSING = "env.missing"
    ENV_INVALID = "env.invalid"
    ENV_WEAK_SECRET = "env.weak_secret"  # noqa: S105  a code, not a secret
    ENV_READABLE = "env.readable"
    ENV_UNREADABLE = "env.unreadable"
    FOLDER_NOT_WRITABLE = "folder.not_writable"
    DISK_NEARLY_FULL = "disk.nearly_full"
    PROGRAM_NOT_EXECUTABLE = "program.not_executable"
    PROGRAM_MISSING = "program.missing"
    POSTGRES_NO_VECTOR = "postgres.no_vector"
    POSTGRES_MAJOR = "postgres.major"
    STACK_ORPHANS = "stack.orphans"
    STACK_HALTED = "stack.halted"
    STACK_STALE_PID = "stack.stale_pid"
    PORT_HELD = "port.held"
    CLOCK_SKEW = "clock.skew"
    SERVER_SILENT = "server.silent"
    SERVER_REFUSES = "server.refuses"
    OBJECTS_OPEN = "objects.open"
    SCHEMA_BEHIND = "schema.behind"
    SCHEMA_AHEAD = "schema.ahead"
    ROLE_BYPASSES = "role.bypasses"
    KEY_UNKNOWN = "key.unknown"
    WORKER_NONE = "worker.none"
    WORKER_STUCK = "worker.stuck"
    QDRANT_AWAY = "qdrant.away"
    MODEL_DAMAGED = "model.damaged"
    MODEL_NOT_CONFIGURED = "model.not_configured"
    DATA_LOST = "data.lost"
    DATA_DUPLICATED = "data.duplicated"
    DATA_RESURRECTED = "data.resurrected"
    DATA_ORPHANED = "data.orphaned"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. message: a sentence. fix: one line, what to do about it."""

    code: Code
    message: str
    fix: str


@dataclass
class Report:
    """What was found, which checks were made, and why others were not: name -> reason."""

    findings: list[Finding] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, check: str, findings: Iterable[Finding]) -> None:
        """A check was made; what it found."""
        self.checks.append(check)
        self.findings += findings

    def skip(self, why: str, *checks: str) -> None:
        """Checks that could not be made."""
        self.skipped |= dict.fromkeys(checks, why)

    def has(self, code: Code) -> bool:
        return any(finding.code == code for finding in self.findings)
