"""Where a model lies that is named as on the Hugging Face hub: in its local cache, or, when asked for, downloaded."""

import re
from pathlib import Path

from models.runtime.files import BundleError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Whether a name can be one of the hub: an owner and a model, as in `owner/model`."""
    return bool(HUB_ID.fullmatch(name)) and not name.endswith((".json", ".safetensors"))


def cached(name: str, *, download: bool = False, revision: str | None = None, cache: Path | None = None) -> Path:
    """The folder of a hub model. Without `download`, nothing but the local cache is looked at.

    Raises: BundleError when it is not there, or cannot be downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    what = f"{name} at revision {revision}" if revision else name
    try:
        return Path(snapshot_download(name, revision=revision, cache_dir=cache, local_files_only=not download))
    except LocalEntryNotFoundError:
        if not download:
            raise BundleError(
                f"{what} is neither a folder nor in the hub's local cache, and nothing is downloaded unless you ask "
                "for it (--download): download it, or give the folder of a checkpoint"
            ) from None
        reason = "the hub cannot be reached"
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
    raise BundleError(f"{what} could not be downloaded: {reason}; check the name and the connection") from None
