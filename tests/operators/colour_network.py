"""A network that follows colours, in the place of SAM 2's.

Called as transformers' is, it keeps in the session what that keeps, under the same names, and
reads of it what that reads: the object's colour lies in the pointer of the frame of its prompt.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDE_PX, _STRIDE = 256, 2


class ColourNetwork:
    """An object is all pixels of the colour that most of its prompt has. From the frame
    `blind_from` on, what was prompted before it is seen no more."""

    blind_from = 0
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.config = SimpleNamespace(
            model_type="sam2_video",
            image_size=_SIDE_PX,
            num_maskmem=7,
            max_object_pointers_in_encoder=16,
        )
        self.calls = 0

    def __call__(self, *, inference_session: Any, frame: Tensor, frame_idx: int) -> Any:
        self.calls += 1
        session = inference_session
        session.add_new_frame(frame, frame_idx)
        small = F.avg_pool2d(frame[None], _STRIDE)[0]
        prompted, begin = bool(session.obj_with_new_inputs), frame_idx
        outputs = session.output_dict_per_obj[0]
        if prompted:
            colour = small[:, self._inside(session, frame_idx)].median(dim=1).values
            session.obj_with_new_inputs = []
        else:
            ((begin, first),) = outputs["cond_frame_outputs"].items()
            colour = first["object_pointer"]
        logits = 4 - 8 * (small - colour[:, None, None]).abs().amax(dim=0)
        lost = begin < self.blind_from <= frame_idx
        seen = 10.0 if int((logits > 0).sum()) >= 12 and not lost else -10.0
        made = {
            "object_pointer": colour,
            "maskmem_features": logits.flatten().to(torch.bfloat16),
            "maskmem_pos_enc": torch.zeros(4),
            "pred_masks": logits[None, None],
            "high_res_masks": logits[None, None],
            "object_score_logits": torch.full((1, 1, 1), seen),
        }
        session.store_output(0, frame_idx, output_value=made, is_conditioning_frame=prompted)
        return SimpleNamespace(
            pred_masks=made["pred_masks"], object_score_logits=made["object_score_logits"]
        )

    @staticmethod
    def _inside(session: Any, frame_idx: int) -> Tensor:
        masks, points = session.mask_inputs_per_obj[0], session.point_inputs_per_obj[0]
        if frame_idx in masks:
            return F.max_pool2d(masks[frame_idx], _STRIDE)[0, 0] > 0
        (x0, y0), (x1, y1) = (points[frame_idx]["point_coords"][0, 0] / _STRIDE).round().int()
        inside = torch.zeros((_SIDE_PX // _STRIDE,) * 2, dtype=torch.bool)
        inside[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = True
        return inside
