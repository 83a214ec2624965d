"""Embeddings by a sentence-transformers model on this machine: no key, no price."""

import base64
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import MissingInput
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.progress import Progress
from persuasion_lib.core.records import content_id
from persuasion_lib.core.store import KeyedLog, file_hash

PACKAGE = "sentence_transformers"
CHUNK_TEXTS = 64        # between two writes to disk
FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]     # of a model, as the hub has it
OLDER = ["*.bin"]       # weights in a folder of one's own


def embed_here(texts: Sequence[str], config: Config, *, cache: Path) -> np.ndarray:
    """One row of norm 1 per text, float64; what `cache` holds of this model is not computed again.

    Raises:
        MissingInput: the package or the model is not there; the message says how to get it.
    """
    folder = model_folder(config)
    weights = _hash(folder)
    keys = [content_id("embed", weights, text, length=40) for text in texts]
    text_of = dict(zip(keys, texts, strict=True))
    with KeyedLog(cache) as log:
        missing = log.missing(keys)
        with Progress(len(missing), f"embedding with {config.similarity.local_model}") as progress:
            for at in range(0, len(missing), CHUNK_TEXTS):
                part = missing[at:at + CHUNK_TEXTS]
                vectors = _encoded(folder, [text_of[key] for key in part])
                log.extend([{"key": key, "model": config.similarity.local_model,
                             "vector": base64.b64encode(vector.tobytes()).decode()}
                            for key, vector in zip(part, vectors, strict=True)])
                progress.update(len(part))
        found = [np.frombuffer(base64.b64decode(log.by_key[key]["vector"]), "<f4") for key in keys]
    return np.stack(found).astype(np.float64)


def check_here(config: Config) -> None:
    """Embed one word; raises what `embed_here` does."""
    _encoded(model_folder(config), ["word"])


def model_folder(config: Config) -> Path:
    """The folder of `similarity.local_model`; a model of the hub is downloaded first.

    Raises:
        MissingInput: the package is missing, or the model is neither here nor on the hub.
    """
    name = config.similarity.local_model
    if importlib.util.find_spec(PACKAGE) is None:
        raise MissingInput("similarity.embedder=local needs the package sentence-transformers. Run "
                           "pip install -e '.[local]', or set similarity.embedder to another.")
    folder = path_of(config, "embedder")
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except (OSError, ValueError) as error:      # a ValueError: no name that the hub could have
        raise MissingInput(f"similarity.local_model {name!r} is neither a folder nor reachable on "
                           f"the hub ({type(error).__name__}). Connect once, or set it to a folder "
                           "that sentence-transformers can read.") from error


@functools.lru_cache(maxsize=1)
def _hash(folder: Path) -> str:
    """Of all files that decide a vector, so that another model never finds the old vectors."""
    return content_id(sorted((str(file.relative_to(folder)), file_hash(file))
                             for pattern in FILES + OLDER for file in folder.rglob(pattern)))


def _encoded(folder: Path, texts: Sequence[str]) -> np.ndarray:
    """float32 of shape (texts, dimension), norm 1."""
    try:
        vectors = _model(folder).encode(list(texts), normalize_embeddings=True,
                                        show_progress_bar=False).astype("<f4")
    except MissingInput:
        raise
    except Exception as error:      # of whichever package reads the file that is broken
        said = " ".join(str(error).split())
        raise _broken(folder, f"{type(error).__name__}: {said:.150}") from error
    if not np.isfinite(vectors).all():
        raise _broken(folder, "its vectors are not finite")
    return vectors


@functools.lru_cache(maxsize=1)
def _model(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer
    model, again = (SentenceTransformer(str(folder), local_files_only=True) for _ in "12")
    states = [getattr(each, "state_dict", dict)() for each in (model, again)]
    # What the files lack is drawn at random, each time anew, and nothing is raised.
    drawn = [name for name, part in states[0].items() if not part.equal(states[1][name])]
    if drawn:
        raise _broken(folder, f"its weights lack {len(drawn)} tensors, such as {drawn[0]}")
    return model


def _broken(folder: Path, why: str) -> MissingInput:
    return MissingInput(f"{folder} (similarity.local_model) is no whole model of "
                        f"sentence-transformers ({why}). Get it again, or name another one.")
