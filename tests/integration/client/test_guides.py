"""The programs of the guides for Python and LangChain do what is said."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drystone.core.db import Sessions

GUIDES = Path(__file__).parents[3] / "docs" / "guides"
PROGRAMS = {
    f"{name}-{number}": program
    for name in ("python", "langchain")
    for number, program in enumerate(
        re.findall(r"^```python\n(.*?)^```", (GUIDES / f"{name}.md").read_text(), re.MULTILINE | re.DOTALL)
    )
}
BIRD = "The kingfisher dives for fish from a branch above the river."
SAID = {
    "python-0": f"kingfisher.txt 0 60 {BIRD}\n",
    "python-1": "3 ready, 0 failed\n0.txt\n1.txt\n2.txt\n",
    "python-2": "4 inserted, 0 refused\n[21.5]\n0\n",
    "python-3": "snapshot\n",
    "python-4": "404 document.not_found\nsearch.limit ['/limit']\n",
    "langchain-0": f"kingfisher.txt 0 {BIRD}\n",
    "langchain-1": "['Bread rises by yeast.', 'Thin shells buckle.']\n['bread']\n",
}


def test_each_program_has_its_answer() -> None:
    assert PROGRAMS.keys() == SAID.keys()


async def _run(program: str, url: str, key: str, work: Any) -> subprocess.CompletedProcess[str]:
    """What became of a program, while the worker does what it asks for."""
    env = {**os.environ, "DRYSTONE_URL": url, "DRYSTONE_API_KEY": key}
    command = [sys.executable, "-W", "error", "-c", program]
    running = asyncio.ensure_future(asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True))
    while not running.done():
        await work()
        await asyncio.sleep(0.02)
    return await running


@pytest.mark.parametrize("name", PROGRAMS)
async def test_the_programs_of_the_guides_work(url: str, key: str, sessions: Sessions, work: Any, name: str) -> None:
    said = await _run(PROGRAMS[name], url, key, work)

    assert (said.returncode, said.stderr) == (0, "")
    # Whether it is ready when the stream is opened is for the worker to say: then the snapshot says so.
    lines = [line for line in said.stdout.splitlines(keepends=True) if not line.startswith("document.")]
    assert sorted(lines) == sorted(SAID[name].splitlines(keepends=True))


async def test_who_reads_one_guide_after_the_other_can_run_both(
    url: str, key: str, sessions: Sessions, work: Any
) -> None:
    for name, program in PROGRAMS.items():
        said = await _run(program, url, key, work)

        assert (name, said.returncode, said.stderr) == (name, 0, "")
