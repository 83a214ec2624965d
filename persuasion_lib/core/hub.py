"""Folders for the Hugging Face hub, with the card that stands in them."""

from pathlib import Path
from typing import Literal

from persuasion_lib.core.errors import MissingInput, PersuasionError


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
