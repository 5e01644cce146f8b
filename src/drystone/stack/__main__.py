"""`python -m drystone.stack '<plan as JSON>'`: an `up` of its own process, as `up --detach` and the tests start it."""

from __future__ import annotations

import sys

from drystone.core.errors import DrystoneError, Unavailable
from drystone.stack import commands
from drystone.stack.up import Plan


def main() -> int:
    plan = Plan.from_json(sys.argv[1])
    try:
        return commands.run(plan, out=sys.stdout, talk=sys.stderr)
    except DrystoneError as exc:
        print(exc, file=sys.stderr)  # noqa: T201  this is an entry point
        return 69 if isinstance(exc, Unavailable) else 1


if __name__ == "__main__":
    sys.exit(main())
