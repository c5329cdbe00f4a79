"""Files of the Hugging Face hub: where its local cache lies, and how loaders are kept from asking it.

In: ids as the settings have them. Out: paths. ``HF_HOME`` and ``HF_HUB_CACHE`` move the cache, as
huggingface_hub documents; its folders are named ``models--<owner>--<name>``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, hf_hub_download

HUB_ERRORS = (OSError, ValueError, RuntimeError)
"""What loaders raise for a file that cannot be had. RuntimeError: huggingface_hub closes its client after a failed
connection, and then tries again with it."""

_loading = threading.RLock()


def cache_folder() -> Path:
    """Where the hub's files lie on this machine."""
    return Path(constants.HF_HUB_CACHE)


@contextmanager
def unasked(never: bool = True) -> Iterator[None]:
    """With ``never``, no loader in here may ask the hub: it finds a file in the cache or fails.

    huggingface_hub reads this constant before each request, and so holds for open_clip and for
    transformers, which fetch tokenizers and settings of their own besides what they are told to.
    """
    with _loading:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = before or never
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def hub_file(given: str, allow_download: bool) -> Path | None:
    """The file ``owner/repository/file`` (or ``.../folder/file``); None where ``given`` is no such id.

    It comes from the cache, or from the hub where that is allowed. Raises one of ``HUB_ERRORS`` where
    neither has it.
    """
    owner, _, rest = given.partition("/")
    repository, _, name = rest.partition("/")
    if not (owner and repository and name) or owner.startswith((".", "~")):
        return None
    with unasked(not allow_download):
        return Path(
            hf_hub_download(f"{owner}/{repository}", name, local_files_only=not allow_download)
        )
