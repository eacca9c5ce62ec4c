"""The small models that come with the product, a folder each, and how a name finds its folder."""

from __future__ import annotations

from pathlib import Path

WEIGHTS_FOLDER = Path(__file__).parent


def bundled_weights() -> list[str]:
    """Names of the models that lie here."""
    return sorted(path.parent.name for path in WEIGHTS_FOLDER.glob("*/config.json"))


def weights_folder(name_or_path: str) -> Path:
    """The folder of a bundled model's name, or the given folder itself.

    Raises:
        ValueError: when there is neither such a model nor such a folder.
    """
    bundled = WEIGHTS_FOLDER / name_or_path
    for folder in (bundled, Path(name_or_path).expanduser()):
        if (folder / "config.json").is_file():
            return folder
    names = ", ".join(bundled_weights()) or "none"
    raise ValueError(
        f"no folder with a config.json at {name_or_path!r} and no bundled model of that name "
        f"(bundled: {names})"
    )
