"""Folders for the Hugging Face hub, with the card that stands in them; and models from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from persuasion_lib.core.errors import MissingInput, PersuasionError

MAIN = "main"       # the revision of a model that no setting has chosen


def upload(folder: Path, repository: str, *, kind: Literal["model", "dataset"]) -> None:
    """Put a folder on the hub as it is, with the hub's own login; a new repository is private.

    Raises:
        MissingInput: it has no card.
        PersuasionError: the hub refuses it, or cannot be reached; the folder is still there.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    if not (folder / "README.md").exists():
        raise MissingInput(f"{folder} has no README.md, and nothing goes up without its card.")
    hub = HfApi()
    try:
        hub.create_repo(repository, repo_type=kind, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, repo_type=kind, folder_path=folder,
                          commit_message=f"{folder.name}, with its card")
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        raise PersuasionError(f"{folder} is written, but was not uploaded to {repository} "
                              f"({said}). Log in with `hf auth login`, with a token that may "
                              f"write there, then: hf upload {repository} {folder} --repo-type "
                              f"{kind}") from None


class Unreached(MissingInput):
    """The hub cannot be asked, and this machine does not hold what it would give."""


@contextmanager
def asked(setting: str, repository: str, revision: str = MAIN) -> Iterator[None]:
    """What a download of a model of the hub fails with, as a sentence; `setting` names it.

    Raises:
        Unreached: the hub cannot be reached, or the name is none that it could have.
        MissingInput: the hub refuses it: gated, private, no such model or revision.
    """
    try:
        yield
    except Exception as error:      # also those of its web client, which are no OSError
        status = _status(error)
        if status is not None and status < 500:
            raise MissingInput(f"{setting} {repository!r}: "
                               f"{_refusal(error, status, repository, revision)}") from error
        raise Unreached(f"{setting} {repository!r} is neither a folder nor reachable on the hub "
                        f"({type(error).__name__}).") from error


def _status(error: Exception) -> int | None:
    """What the hub answered, if it did; its client hides that behind "not in the cache"."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return getattr(response, "status_code", None)


def _refusal(error: Exception, status: int, repository: str, revision: str) -> str:
    """What a refusal means, and what would help."""
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    page = f"{ENDPOINT}/{repository}"
    if isinstance(error, GatedRepoError):
        return (f"its owner asks who takes it. Accept the terms at {page}, log in with `hf auth "
                "login`, and run again.")
    if isinstance(error, RevisionNotFoundError):
        return (f"the hub has no revision {revision!r} of it. Set the revision to a branch, a tag "
                f"or a commit of {page}/commits.")
    if isinstance(error, RepositoryNotFoundError):
        return ("the hub has no such model, or does not show it to you. Mend the name; for a "
                "private one log in with `hf auth login`.")
    return (f"the hub refuses it (status {status}). Log in with `hf auth login`, or try again "
            "later.")


def is_of_hub(name: str) -> bool:
    """Whether it could be the name of a model on the hub (`owner/name`), and no path."""
    return not name.startswith(("/", "~", ".")) and name.count("/") <= 1 and "\\" not in name


def in_cache(repository: str, revision: str = MAIN) -> Path | None:
    """The folder in which the hub's client keeps a model of that revision; the hub is not asked."""
    from huggingface_hub.constants import HF_HUB_CACHE
    if not is_of_hub(repository):
        return None
    kept = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    ref = kept / "refs" / revision
    folder = kept / "snapshots" / (ref.read_text().strip() if ref.is_file() else revision)
    return folder if folder.is_dir() else None
