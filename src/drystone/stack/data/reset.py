"""Removes the data of a stack that is down: its servers' folders, and what an upgrade kept. Nothing else."""

from __future__ import annotations

from drystone.core.settings import Settings
from drystone.stack.data import rest, swap
from drystone.stack.data.swap import PARTS


def names(settings: Settings) -> list[str]:
    """The folders there are to remove. `.env`, snapshots, models and logs are not among them."""
    data_dir = settings.general.data_dir
    kept = sorted(folder.name for folder in data_dir.glob("postgres-*.old*"))
    return [part for part in PARTS if (data_dir / part).is_dir()] + kept


def reset(settings: Settings) -> list[str]:
    """Remove the data; the folders that are gone. Raises Conflict while the stack runs, or when a server is not ours."""
    rest.check_all_ours(settings, "Removing the data")
    with rest.at_rest(settings, "Removing the data"):
        gone = names(settings)
        swap.discard(settings.general.data_dir, gone)
    return gone
