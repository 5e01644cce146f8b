"""Are the packages that pyproject.toml names and the checks import there, and how far are they from what it wants?

A package that is missing fails; one that is older is told, since the checks that follow show whether it will do.
"""

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

IMPORTED = {"pydantic", "pydantic-settings", "python-dotenv", "honcho", "structlog"}
IMPORTED |= {"sqlalchemy", "asyncpg", "alembic", "pgvector", "numpy", "httpx", "rich", "typer"}

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
wanted = {requirement.name: requirement for requirement in map(Requirement, project["dependencies"])}
if unknown := IMPORTED - set(wanted):
    sys.exit(f"not in pyproject.toml any more: {', '.join(sorted(unknown))}")
if missing := [name for name in sorted(IMPORTED) if not list(importlib.metadata.distributions(name=name))]:
    sys.exit(f"not in nixpkgs' Python: {', '.join(missing)}")
for name in sorted(IMPORTED):
    found = importlib.metadata.version(name)
    if not wanted[name].specifier.contains(Version(re.sub(r"\+.*", "", found)), prereleases=True):
        sys.stdout.write(f"older: {name} {found}, pyproject.toml wants {wanted[name].specifier}\n")
