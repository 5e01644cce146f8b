"""A SeaweedFS whose index has holes, as a full disk leaves them, gives every blob again after its next start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store
from tests.clients import s3_store

from drystone.core.errors import Unavailable
from drystone.core.settings import Settings, parse
from drystone.stack.dotenv import make_environment
from drystone.stack.fulldisk import NEVER_FULL
from drystone.stack.services import OBJECTS
from drystone.stack.supervise import Servers

ENTRY_BYTES = 17
# More entries than one page of 4096 bytes holds, so that one of them lies across its end.
BLOBS = {f"blob/{number}": bytes([number % 256]) * (number + 1) for number in range(300)}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("store")
    return parse(make_environment(data_dir=root / "data", model_dir=root / "models"))


@pytest.fixture(scope="module")
def store(settings: Settings) -> S3Store:
    return s3_store(settings)


@pytest.fixture(scope="module")
def servers(settings: Settings, store: S3Store) -> Iterator[Servers]:
    with Servers(settings, Path("/"), durable=False, services=[OBJECTS]) as started:
        for key, body in BLOBS.items():
            obstore.put(store, key, body)
        obstore.delete(store, "blob/7")
        yield started


@pytest.fixture
def index(servers: Servers) -> Path:
    (volume,) = (path for path in (servers.data_dir / "objects").glob("drystone_*.dat") if path.stat().st_size > 10_000)
    return volume.with_suffix(".idx")


def read(store: S3Store) -> dict[str, bytes]:
    return {key: bytes(obstore.get(store, key).bytes()) for key in BLOBS if key != "blob/7"}


def kept() -> dict[str, bytes]:
    return {key: body for key, body in BLOBS.items() if key != "blob/7"}


def tear(index: Path) -> None:
    index.write_bytes(index.read_bytes()[:4096])


def tear_to_a_size_of_the_other_entries(index: Path) -> None:
    size = index.stat().st_size // (16 * ENTRY_BYTES) * (16 * ENTRY_BYTES) - 16
    assert size % 16 == 0
    index.write_bytes(index.read_bytes()[:size])


def cut_off_whole_entries(index: Path) -> None:
    index.write_bytes(index.read_bytes()[: -4 * ENTRY_BYTES])


def empty_the_last_entries(index: Path) -> None:
    index.write_bytes(index.read_bytes()[: -3 * ENTRY_BYTES] + bytes(3 * ENTRY_BYTES))


def drop_an_entry(index: Path) -> None:
    entries = index.read_bytes()
    index.write_bytes(entries[: 100 * ENTRY_BYTES] + entries[101 * ENTRY_BYTES :])
    index.with_name(NEVER_FULL).unlink()


def remove(index: Path) -> None:
    index.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        tear,
        tear_to_a_size_of_the_other_entries,
        cut_off_whole_entries,
        empty_the_last_entries,
        drop_an_entry,
        remove,
    ],
)
def test_no_blob_is_lost_with_a_part_of_the_index(
    servers: Servers, index: Path, store: S3Store, damage: Callable[[Path], None]
) -> None:
    servers.kill("objects")
    damage(index)

    servers.start_again("objects")

    assert read(store) == kept()
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "blob/7")
    obstore.put(store, "later", b"still writable")
    assert index.with_name(NEVER_FULL).exists()
    assert not index.with_name("index.new").exists()


def test_an_index_that_is_known_to_be_whole_is_left_alone(servers: Servers, index: Path) -> None:
    servers.restart("objects")
    before = index.stat()

    servers.restart("objects")

    assert index.stat().st_ino == before.st_ino


def test_a_volume_that_cannot_be_read_is_told_and_nothing_of_it_is_touched(servers: Servers, index: Path) -> None:
    servers.kill("objects")
    damaged, odd_index = index.with_name("drystone_99.dat"), index.with_name("drystone_99.idx")
    damaged.write_bytes(b"\xff" * 100)
    odd_index.write_bytes(b"x" * 35)

    with pytest.raises(Unavailable, match=r"index of .*drystone_99\.dat may have holes and cannot be made anew: "):
        servers.start_again("objects")

    assert odd_index.read_bytes() == b"x" * 35
    damaged.unlink()
    odd_index.unlink()
    servers.start_again("objects")
