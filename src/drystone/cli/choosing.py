"""Which jobs a person means, and what is done to them: by id, by their document, or all that fit."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import typer

from drystone.cli import terminal
from drystone.cli.answers import Job
from drystone.cli.client import Client
from drystone.core.errors import Invalid, NotFound

Verb = Literal["retry", "cancel"]
# What people mean by jobs. Deliveries of webhooks, which may fail in hundreds, are asked for by their kind.
DOCUMENTS = "documents.*"

_DONE: Mapping[Verb, str] = {"retry": "queued anew", "cancel": "cancelled"}
_HIGHEST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
# Lists show the first eighteen characters of an id: its millisecond and twelve random bits.
_PART = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{1,26}")


def find(client: Client, given: str) -> Job:
    """The job with this id, or whose id begins so; for a document's id, its newest job. Raises NotFound, Invalid."""
    given = given.lower()
    if len(given) == len(_HIGHEST_ID):
        return _whole(client, given)
    if not _PART.fullmatch(given):
        raise Invalid("request.bad_id", f"{given!r} is not an id.", hint='"drystone jobs" shows ids')
    below = client.jobs(limit=2, cursor=given + _HIGHEST_ID[len(given) :])["items"]
    found = [job for job in below if job["id"].startswith(given)]
    if len(found) > 1:
        raise Invalid("job.several", f"More than one job's id begins with {given}.", hint="give more of it")
    if not found:
        raise _no_job(given)
    return found[0]


def change_each(client: Client, verb: Verb, given: Sequence[str], *, force: bool) -> None:
    """One by one, so that each that cannot be changed is told why."""
    for job in [find(client, each) for each in given]:
        if verb == "retry":
            client.retry_job(job["id"], force=force)
        else:
            client.cancel_job(job["id"])
        terminal.say(f"{_DONE[verb]}: {job['id']}")


def change_all(client: Client, verb: Verb, choice: Mapping[str, Any], *, dry_run: bool, asks: bool = False) -> None:
    """All that fit, a thousand at once. asks: whoever sits at a terminal is told how many, and says yes first."""
    if asks and not dry_run and sys.stdin.isatty():
        found = client.change_jobs(verb, {**choice, "dry_run": True})
        if found["jobs"]:
            typer.confirm(f"{_jobs(found['jobs'], more=found['more'])} would be {_DONE[verb]}. Go on?", abort=True)
    total, refused = 0, dict[str, int]()
    while True:
        changed = client.change_jobs(verb, {**choice, "dry_run": dry_run})
        total += changed["jobs"]
        for code, number in changed["refused"].items():
            refused[code] = refused.get(code, 0) + number
        if dry_run or not changed["more"] or not changed["jobs"]:
            break
    would = "would be " if dry_run else ""
    terminal.say(f"{_jobs(total, more=dry_run and changed['more'])} {would}{_DONE[verb]}")
    for code, number in sorted(refused.items()):
        terminal.say(f"{number} not: {code}")


def others(client: Client, state: str | None) -> str:
    """How many jobs for something else than documents are queued, running or failed, in words; empty for none."""
    counts = [each for each in client.queue()["counts"] if state in (None, each["state"])]
    number = sum(each["jobs"] for each in counts if not each["kind"].startswith(DOCUMENTS[:-1]))
    return f"{number} for webhooks left out: drystone jobs --kind 'webhooks.*' lists them" if number else ""


def _whole(client: Client, job_id: str) -> Job:
    from drystone.cli.data import parse_id

    try:
        return client.job(parse_id(job_id))
    except NotFound:
        about = client.jobs(document=job_id, limit=1)["items"]
        if not about:
            raise _no_job(job_id) from None
        return about[0]


def _no_job(given: str) -> NotFound:
    return NotFound(
        "job.not_found", f"There is no job {given}, and no job about a document of that id.", hint='see "drystone jobs"'
    )


def _jobs(number: int, *, more: bool) -> str:
    return f"{number} or more jobs" if more else "1 job" if number == 1 else f"{number} jobs"
