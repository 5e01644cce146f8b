"""Where backups lie: a folder or a prefix in a bucket, laid out alike.

backups/ID.json      a backup, once it is whole
sha256/ab/ab…        blobs, and pieces of dumps, catalogues and logs: written once, shared by all backups
running/ID.json      somebody is at work here
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from pydantic import SecretStr

from drystone.adapters.objects import Objects
from drystone.backup.manifest import MAX_BYTES, Manifest
from drystone.core.errors import Conflict, DrystoneError, Invalid, NotFound
from drystone.core.settings import BackupSettings, S3Settings, SettingsError

_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_ID = re.compile(r"backups/(\d{8}T\d{6}Z-[0-9a-f]{6})\.json")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
# Who works says so again so often, and counts as gone when it has not for so long.
_SIGN_OF_LIFE_S = 30.0
_GONE_AFTER = timedelta(minutes=10)


@dataclass(frozen=True)
class Target:
    """A place for backups. folder: where it is one of this machine."""

    name: str
    objects: Objects
    folder: Path | None = None

    async def ids(self) -> list[str]:
        """The backups there, oldest first."""
        found = [match[1] async for key, _ in self.objects.list_keys("backups") if (match := _ID.fullmatch(key))]
        return sorted(found)

    async def read(self, backup_id: str | None = None) -> Manifest:
        """A backup's manifest; without an id that of the newest which is whole. Raises NotFound, Invalid, Conflict."""
        ids = await self.ids()
        if backup_id is None:
            return await self._newest(ids)
        if backup_id not in ids:
            raise NotFound(
                "backup.not_found", f"There is no backup {backup_id} in {self.name}.", hint=f"there is: {_some(ids)}"
            )
        return Manifest.parse(backup_id, await self.objects.read_key(_key(backup_id), most_bytes=MAX_BYTES))

    async def every(self) -> list[Manifest | DrystoneError]:
        """All backups, oldest first; of one that cannot be read, why."""
        found: list[Manifest | DrystoneError] = []
        for backup_id in await self.ids():
            try:
                found.append(await self.read(backup_id))
            except (Invalid, Conflict) as exc:
                found.append(exc)
        return found

    async def write(self, manifest: Manifest) -> None:
        """Make a backup of what lies there; from now on it is one."""
        await self.sync()
        await self.objects.put_key(_key(manifest.id), manifest.as_bytes())
        await self.sync()

    async def forget(self, backup_id: str) -> None:
        """Make a backup none; its objects stay."""
        await self.objects.delete_key(_key(backup_id))

    async def sync(self) -> None:
        """Return when a folder's disk has everything; an S3 store has it when it answers."""
        if self.folder is not None:
            await asyncio.to_thread(os.sync)

    @asynccontextmanager
    async def at_work(self, doing: str, *, apart_from: Sequence[str]) -> AsyncIterator[None]:
        """Say that this process is at work, and keep saying so. Raises Conflict while another does one of `apart_from`.

        Each writes first and looks then, so of two that begin at once at least one sees the other.
        """
        key = f"running/{new_id()}.json"
        said = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "doing": doing}).encode()
        await self.objects.put_key(key, said)
        alive = asyncio.create_task(self._keep_saying(key, said))
        try:
            await self._refuse_beside(key, apart_from)
            yield
        finally:
            alive.cancel()
            with suppress(asyncio.CancelledError):
                await alive
            with suppress(DrystoneError):
                await self.objects.delete_key(key)

    async def _keep_saying(self, key: str, said: bytes) -> None:
        while True:
            await asyncio.sleep(_SIGN_OF_LIFE_S)
            with suppress(DrystoneError):
                await self.objects.put_key(key, said)

    async def _refuse_beside(self, mine: str, apart_from: Sequence[str]) -> None:
        signs = {key: at async for key, at in self.objects.list_keys("running")}
        now = signs.get(mine, datetime.now(UTC))
        for key, at in signs.items():
            if key == mine:
                continue
            other = await self._sign(key)
            if now - at > _GONE_AFTER or _is_dead(other):
                await self.objects.delete_key(key)
            elif (doing := other.get("doing")) in apart_from:
                raise Conflict(
                    "backup.busy",
                    f"Another process works in {self.name}: {doing}, {other.get('host')} pid {other.get('pid')}, at {at:%H:%M:%S}.",
                    hint="wait for it; one that was killed elsewhere counts as gone after ten minutes",
                )

    async def _sign(self, key: str) -> dict[str, Any]:
        try:
            found = json.loads(await self.objects.read_key(key, most_bytes=4096))
        except (NotFound, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    async def _newest(self, ids: list[str]) -> Manifest:
        for backup_id in reversed(ids):
            with suppress(Invalid, Conflict):
                if (found := await self.read(backup_id)).is_whole:
                    return found
        if ids:
            raise NotFound(
                "backup.none_whole",
                f"No backup in {self.name} is whole.",
                hint=f"choose one with --backup: {_some(ids)}",
            )
        raise NotFound("backup.none", f"There is no backup in {self.name}.", hint="make one: drystone backup TARGET")


def open_target(name: str, settings: BackupSettings, *, is_new: bool = False) -> Target:
    """The place that a name means: `s3://bucket/prefix` or a folder. is_new: a folder may be made.

    Raises Invalid for a name that is neither, NotFound for a folder that is not there, SettingsError without BACKUP_S3_….
    """
    if name.startswith("s3:"):
        return _open_s3(name, settings)
    if "://" in name:
        raise Invalid("backup.target", f"{name} is no place for backups.", hint="give a folder, or s3://bucket/prefix")
    folder = Path(name).expanduser().resolve()
    if not folder.is_dir():
        if not is_new:
            raise NotFound("backup.no_folder", f"There is no folder {folder}.", hint="is its disk mounted?")
        if not folder.parent.is_dir():
            what = f"There is no folder {folder.parent} to make {folder.name} in."
            raise NotFound("backup.no_folder", what, hint="is its disk mounted? if it is, make that folder first")
        folder.mkdir(mode=0o700)
    if is_new and not (folder / "backups").is_dir() and any(folder.iterdir()):
        raise Conflict(
            "backup.not_empty", f"{folder} holds something else than backups.", hint="name an empty or new folder"
        )
    if is_new:
        (folder / "backups").mkdir(mode=0o700, exist_ok=True)
    return Target(str(folder), Objects.open_folder(folder), folder)


def new_id(now: datetime | None = None) -> str:
    """An id that sorts by time to the microsecond, of which five digits tell."""
    at = now or datetime.now(UTC)
    return f"{at:%Y%m%dT%H%M%SZ}-{at.microsecond:05x}{token_hex(1)[0]}"


def _open_s3(name: str, settings: BackupSettings) -> Target:
    match = _S3.fullmatch(name.rstrip("/"))
    prefix = (match[2] or "") if match else ""
    if match is None or (prefix and not _PREFIX.fullmatch(prefix)) or ".." in prefix:
        raise Invalid(
            "backup.target",
            f"{name} names no bucket and prefix.",
            hint="s3://bucket/prefix, the prefix of letters, digits and . _ - /",
        )
    lacking = [
        f"BACKUP_S3_{part}: is needed for {name}"
        for part, value in (
            ("ENDPOINT_URL", settings.s3_endpoint_url),
            ("ACCESS_KEY_ID", settings.s3_access_key_id),
            ("SECRET_ACCESS_KEY", settings.s3_secret_access_key.get_secret_value()),
        )
        if not value
    ]
    if lacking:
        raise SettingsError(
            "settings.invalid",
            "The settings are not usable:\n" + "\n".join(f"  {line}" for line in lacking),
            hint="set them in .env or in the shell",
            problems=lacking,
        )
    s3 = S3Settings.model_construct(
        endpoint_url=settings.s3_endpoint_url,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=SecretStr(settings.s3_secret_access_key.get_secret_value()),
        bucket=match[1],
        region=settings.s3_region,
    )
    return Target(name, Objects.open_s3(s3, prefix=prefix, variables="BACKUP_S3_"))


def _is_dead(sign: dict[str, Any]) -> bool:
    """Whether it was a process of this machine that is no more."""
    pid = sign.get("pid")
    if sign.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _key(backup_id: str) -> str:
    return f"backups/{backup_id}.json"


def _some(ids: list[str]) -> str:
    return ", ".join(ids[-5:]) or "none"
