"""A catalogue as a folder: written so that a crash leaves no half file, read with all that is wrong told at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from drystone.cli import yaml_files
from drystone.cli.yaml_files import Manuscript
from drystone.core.errors import Conflict, Invalid, NotFound

_ENDINGS = (".yaml", ".yml", ".json")
_TOLD = 10


def check(folder: Path, names: Sequence[str]) -> None:
    """Raise Invalid for a folder that holds files where none are read, or none at all: a misspelt name would say that all is gone."""
    if not folder.is_dir():
        raise NotFound("catalogue.no_folder", f"{folder} is no folder.", hint="name one that `catalogue export` wrote")
    stray = [each for each in sorted(folder.iterdir()) if each.name not in names and _has_files(each)]
    where = ", ".join(f"{name}/" for name in names)
    if stray:
        raise Invalid(
            "catalogue.stray_files",
            f"{stray[0]} is read as nothing.",
            hint=f"files stand in {where}; move it there or away",
        )
    if not any(True for name in names for _ in _files(folder / name)):
        raise Invalid("catalogue.empty_folder", f"{folder} holds no files in {where}.", hint="is it the right folder?")


def _has_files(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return path.suffix in _ENDINGS if path.is_file() else any(True for _ in _files(path))


def read(folder: Path, name: str) -> dict[str, Manuscript]:
    """The files of one kind, by key. Raises Invalid with each that cannot be read, NotFound where there is no folder."""
    if not folder.is_dir():
        raise NotFound("catalogue.no_folder", f"{folder} is no folder.", hint="name one that `catalogue export` wrote")
    found: dict[str, Manuscript] = {}
    problems: list[str] = []
    for path in _files(folder / name):
        if path.stem in found:
            problems.append(f"{path}: {found[path.stem].path.name} is of the same key.")
            continue
        try:
            found[path.stem] = read_file(path)
        except Invalid as exc:
            problems.append(f"{exc.message}\n    {exc.hint}")
    if problems:
        more = f"\nand {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        raise Invalid("catalogue.bad_file", "\n".join(problems[:_TOLD]) + more)
    return found


def read_file(path: Path) -> Manuscript:
    """One file; - is standard input. Raises Invalid with the line."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Invalid("catalogue.bad_file", f"{path}: it is no UTF-8 text.", hint="save it as UTF-8") from exc
    return yaml_files.read(path, text)


def write(folder: Path, names: Sequence[str], texts: Mapping[str, str], *, replace: bool) -> None:
    """Have the folder hold these texts by their relative paths, and under `names` no other file of ours.

    Raises Invalid for a path that is not one of a file right under `names`, whoever thought of it. Raises Conflict where that
    would write over something, or remove it, and `replace` does not say so.
    """
    for name in texts:
        _check_name(name, names)
    there = {f"{name}/{path.name}": path for name in names for path in _files(folder / name)}
    there |= {name: folder / name for name in texts if os.path.lexists(folder / name)}
    differing = [path for name, path in there.items() if not _holds(path, texts.get(name))]
    if differing and not replace:
        raise Conflict(
            "catalogue.folder_in_use",
            f"{folder} holds {len(differing)} files that would be written over or removed, {differing[0]} among them.",
            hint="say --replace, or name another folder",
        )
    for name, text in sorted(texts.items()):
        target = folder / name
        if there.get(name) in differing or name not in there:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}.draft")
            draft.write_text(text, encoding="utf-8", newline="\n")
            os.replace(draft, target)  # noqa: PTH105  # at once, also over one that is there
    for name, path in there.items():
        if name not in texts:
            path.unlink()


def _check_name(name: str, names: Sequence[str]) -> None:
    first, _, last = name.partition("/")
    is_plain = last.isprintable() and not last.startswith(".") and last.endswith(_ENDINGS) and not {*"/\\"} & {*last}
    if first not in names or not is_plain:
        raise Invalid(
            "catalogue.bad_name",
            f"{name!r} is no name of a file here.",
            hint="nothing was written; have the key of what it is about be one that the catalogue takes",
        )


def _holds(path: Path, text: str | None) -> bool:
    return text is not None and path.is_file() and path.read_bytes() == text.encode()


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (
            path for path in sorted(folder.iterdir()) if path.suffix in _ENDINGS and not path.name.startswith(".")
        )
