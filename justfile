# Every command a developer types. `just` alone lists them.

_default:
    @just --list --unsorted

# Set up .venv with everything a developer needs
setup:
    ./drystone --version
    uv sync --frozen --group test --group lint

# Start the stack, with reload on change
up *args:
    ./drystone up --reload {{args}}

# Format, lint, types, imports, lock: what must hold before a commit
check: lock
    .venv/bin/ruff format --check .
    .venv/bin/ruff check .
    .venv/bin/mypy
    .venv/bin/lint-imports
    sh -n drystone .ci/run
    if command -v actionlint >/dev/null; then actionlint -shellcheck= .github/workflows/*.yml; fi

# Is uv.lock in step with pyproject.toml?
lock:
    uv lock --check

# Known vulnerabilities of what uv.lock names; says so where nobody can be asked
audit:
    uv sync --frozen --inexact --quiet --group audit
    .venv/bin/python .ci/audit

# What is installed to run, as a bill of materials in CycloneDX
sbom file="sbom.json":
    uv export --frozen --all-extras --format cyclonedx1.5 --quiet --output-file {{file}}

# Mend what a tool can mend
fix:
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .

# All tests, on a stack of their own; arguments go to pytest
test *args:
    ./drystone test {{args}}

# Tests that need no server
unit *args:
    .venv/bin/python -m pytest tests/unit {{args}}

# Every fault once, against a whole stack; `--cells 500 --seed 7` draws many, `--batch 1000 --every 10` disturbs one batch
faults *args:
    .venv/bin/python -m tests.faults {{args}}

# Files made to break a parser, and how each ends; words select, e.g. `just bombs zip pdf`
bombs *words:
    .venv/bin/python -m tests.faults.bombs {{words}}

# The pictures of the guides, from a running stack with `./drystone demo`, by Chromium
pictures:
    .venv/bin/python docs/pictures.py

# The restore drill: back up while it is written to, destroy, restore, compare; on a stack of its own
drill *args:
    .venv/bin/python -m pytest tests/e2e/test_backup.py tests/e2e/test_point_in_time.py {{args}}

# The API against its own description for longer, with requests drawn by chance; seconds
fuzz seconds="900" *args:
    .venv/bin/python -m pytest tests/integration/test_openapi.py -q --timeout 0 --fuzz-seconds {{seconds}} {{args}}

# The site of docs/, searchable, into build/site
docs:
    uv sync --frozen --inexact --quiet --group docs
    .venv/bin/python -m sphinx -q -W --keep-going -b html docs build/site
    @echo "build/site/index.html"

# A new migration, empty
migration what:
    .venv/bin/alembic revision -m "{{what}}"

# Write .env.example anew after a change to Settings
env-example:
    .venv/bin/drystone env example > .env.example

# One benchmark, e.g. `just bench search`; results go to benchmarks/results
bench name *args:
    .venv/bin/python -m benchmarks.{{name}} {{args}}
