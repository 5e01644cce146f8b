"""A project's folder with its settings, and the `.env` that every command begins with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pydantic import SecretStr

from drystone.core import settings as core_settings
from drystone.core.errors import Conflict
from drystone.core.settings import Settings, SettingsError
from drystone.stack import dotenv
from drystone.stack.state import RunLock

# Variables of a model make sense together only.
_MODELS = ("NEXT_EMBEDDING", "EMBEDDING")


@dataclass(frozen=True)
class Project:
    """A project's folder with its settings, as every stack command needs it."""

    root: Path
    environment: dict[str, str]
    settings: Settings

    @property
    def data_dir(self) -> Path:
        return self.settings.general.data_dir

    @property
    def run_dir(self) -> Path:
        return self.data_dir / "run"

    @property
    def url(self) -> str:
        api = self.settings.api
        host = "127.0.0.1" if api.host in ("0.0.0.0", "::") else api.host  # noqa: S104  compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{api.port}"


def open_project(root: Path, *, shell: Mapping[str, str] | None = None) -> Project:
    """Read a project's settings from `.env` and the shell (default: ours). Raises SettingsError or Invalid."""
    root = root.resolve()
    environment = dotenv.read(root / ".env", os.environ if shell is None else shell)
    settings = core_settings.parse(environment)
    core_settings.check_file(root / ".env", settings)
    return Project(root, environment, core_settings.absolute(settings, root))


def open_started(root: Path, *, talk: TextIO) -> Project:
    """As `open_project`, for what was started with other settings than `.env` has now: what is wrong there counts as not set.

    Says so. Raises SettingsError where that does not help, or where the data folder itself is wrong.
    """
    try:
        return open_project(root)
    except SettingsError as exc:
        problems = [str(line) for line in exc.values["problems"]]
        wrong = {line.partition(":")[0] for line in problems}
        if "DRYSTONE_DATA_DIR" in wrong:
            raise
        left_out = tuple(wrong | {f"{prefix}_" for name in wrong for prefix in _MODELS if name.startswith(prefix)})
        shell = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        environment = {
            name: value for name, value in dotenv.read(root / ".env", shell).items() if not name.startswith(left_out)
        }
        environment |= _stand_ins(wrong)
        try:
            settings = core_settings.absolute(core_settings.parse(environment), root.resolve())
        except SettingsError:
            raise exc from None
        print(
            "Not usable in .env or the shell, so left out here:\n" + "\n".join(f"  {line}" for line in problems),
            file=talk,
        )
        return Project(root.resolve(), environment, settings)


def _stand_ins(names: Iterable[str]) -> dict[str, str]:
    """Secrets that nobody is asked for when something is stopped. What says where a server is has none."""
    made = dotenv.parse(dotenv.compose(core_settings.example(), port_of={}))
    fields = core_settings.variables()
    secret = {name for name in names if name in fields and fields[name][1].annotation is SecretStr}
    return {name: made[name] for name in secret if made[name] and "://" not in made[name]}


def write_environment(root: Path, talk: TextIO, *, ports: dotenv.PortChoice = "free") -> None:
    """Write `.env`, or add what it lacks, and say so."""
    path = root / ".env"
    data_dir = Path(os.environ.get("DRYSTONE_DATA_DIR") or core_settings.DATA_DIR)
    pid = RunLock(root / data_dir / "run").holder() if not path.exists() else None
    if pid:
        raise Conflict(
            "stack.env_lost",
            f"{path} is gone, while process {pid} runs the stack that was started with it.",
            hint="put it back; or run ./drystone down first, and then up, which writes another",
        )
    if dotenv.create(path, ports=ports):
        print("Wrote .env with new secrets.", file=talk)
    elif added := dotenv.complete(path, os.environ, ports=ports):
        print(f"Added to .env: {', '.join(added)}.", file=talk)
