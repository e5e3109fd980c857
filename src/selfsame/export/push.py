"""An export on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from selfsame.errors import ConfigError, RunError


def check_push(repository: str) -> None:
    """Checks what can be checked before the work.

    Raises:
        ConfigError: the name is none of a repository, no token is there, or the hub is switched off.
    """
    if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", repository):
        raise ConfigError(f"--push {repository}: give the name of a repository, OWNER/NAME")
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise ConfigError("--push needs the hub, and HF_HUB_OFFLINE is set: unset it, or leave --push out")
    if get_token() is None:
        raise ConfigError("--push needs a token of the hub: `hf auth login`, or set HF_TOKEN")


def push(folder: Path, repository: str) -> str:
    """Uploads a folder to a repository, which is made private where it is not there yet; returns its address.

    Raises:
        RunError: the hub refuses, or cannot be reached. The folder stays.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        made = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export of Selfsame")
    except Exception as error:  # the hub's library and the network raise many kinds
        first = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunError(
            f"{folder} is written, but not on the hub ({first}): try again by `hf upload {repository} {folder}`"
        ) from error
    return str(made)
