"""Which SAM a setting means, loaded once its files are known to be there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamer.errors import WeightsError

if TYPE_CHECKING:
    from model.sam.segmenter import Segmenter

TYPES = ("vit_b", "vit_l", "vit_h")
NANO, NONE = "nano", "none"


def load_segmenter(sam: str, sam_type: str = "vit_b", device: str = "auto") -> Segmenter:
    """A SAM.

    Args:
        sam: "nano" for the model that comes with the product, the folder of another sam-nano, or a
            `sam_vit_*.pth` file as released.
        sam_type: vit_b, vit_l or vit_h, the type of a `.pth` file.
        device: "auto", "cpu", "cuda", "cuda:1", ...

    Raises:
        WeightsError: when it is missing or does not fit.
    """
    if sam != NANO and not Path(sam).exists():  # said before anything is loaded
        raise WeightsError(
            f"{sam}: no such SAM checkpoint; download one from the segment-anything page, or say "
            "nano"
        )
    from model.sam.segmenter import Segmenter

    try:
        if sam == NANO or Path(sam).is_dir():
            return Segmenter.nano("sam-nano" if sam == NANO else sam, device=device)
        return Segmenter.from_checkpoint(sam, kind=sam_type, device=device)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{sam}: {error}") from error
