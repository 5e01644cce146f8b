"""`drystone doctor`: what is wrong with this stack, and what to do about it. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from drystone.stack.findings import Finding


def print_finding(finding: Finding) -> None:
    """A block for people: the code and what is wrong, then the fix."""
    typer.echo(f"{typer.style(finding.code, fg='red')}  {finding.message}\n  fix: {finding.fix}")
