"""Which folder is the project: the one with the Procfile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from drystone.core.errors import NotFound


def find(environment: Mapping[str, str] | None = None, start: Path | None = None) -> Path:
    """The project's folder: DRYSTONE_ROOT, else the nearest folder above `start` that looks like it, else our source checkout."""
    named = (os.environ if environment is None else environment).get("DRYSTONE_ROOT", "")
    if named:
        if not Path(named).is_dir():
            raise NotFound("stack.no_root", f"DRYSTONE_ROOT names no folder: {named}", hint="unset it or correct it")
        return Path(named).resolve()
    here = (start or Path.cwd()).resolve()
    checkout = Path(__file__).resolve().parents[3]
    for folder in (here, *here.parents, checkout):
        if (folder / "Procfile").is_file() and (folder / "pyproject.toml").is_file():
            return folder
    raise NotFound(
        "stack.no_root",
        f"No Drystone project in {here} or above it.",
        hint="run it inside the project's folder, or set DRYSTONE_ROOT",
    )
