"""Where models lie: small ones that come with the product, and those `streamer models pull` put
into a folder of the user's."""

from __future__ import annotations

import os
from pathlib import Path

from model.weights.known import KNOWN

WEIGHTS_FOLDER = Path(__file__).parent


def models_folder() -> Path:
    """Where pulled models go: `$STREAMER_MODELS`, else a folder in the user's cache."""
    chosen = os.environ.get("STREAMER_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "osprey-streamer" / "models"


def is_pulled(name: str) -> bool:
    """Whether weights of a known model are in the user's folder (all of them or not)."""
    folder = models_folder() / name
    return any(path.suffix in (".bin", ".safetensors", ".pth") for path in folder.glob("*.*"))


def bundled_weights() -> list[str]:
    """Names of the models that lie here."""
    return sorted(path.parent.name for path in WEIGHTS_FOLDER.glob("*/config.json"))


def weights_path(name_or_path: str) -> Path:
    """The folder of a model's name (bundled or pulled), or the given file or folder itself.

    Raises:
        ValueError: when there is neither; for a known model it says how to get it.
    """
    if name_or_path in bundled_weights():
        return WEIGHTS_FOLDER / name_or_path
    if name_or_path in KNOWN and is_pulled(name_or_path):
        return models_folder() / name_or_path
    given = Path(name_or_path).expanduser()
    if name_or_path and given.exists():
        return given
    if name_or_path in KNOWN:
        raise ValueError(
            f"{name_or_path} is not here yet: `streamer models pull {name_or_path}` downloads it"
        )
    names = ", ".join(bundled_weights()) or "none"
    raise ValueError(
        f"no file or folder {name_or_path!r} and no model of that name (bundled: {names}; "
        f"to be pulled: {', '.join(KNOWN)})"
    )


def weights_folder(name_or_path: str) -> Path:
    """The folder of an Osprey model's name, or the given folder itself.

    Raises:
        ValueError: when there is neither such a model nor such a folder.
    """
    folder = weights_path(name_or_path)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json: not a model folder")
    return folder
