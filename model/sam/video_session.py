"""Masks of objects through a video that has no end, by SAM 2 or EdgeTAM.

transformers keeps one session for all objects of a film: it refuses a frame without objects, cannot
forget an object, and keeps every frame and every output. An object that comes later changes what
SAM 2 remembers of the others in that frame, is an error in EdgeTAM when it comes with a mask, and
is never found when its prompt does not have the number that the session gives the frame. Here each
object has a session of its own, as in the paper each has its own memory. The sessions share the
features of a frame, number it alike, and keep only what some later frame reads:

- of the frame of the prompt: the memory and the object pointer, for ever;
- of the last `num_maskmem - 1` frames: the memory (features of the frame and the mask);
- of the last `max_object_pointers_in_encoder - 1` frames: the object pointer;
- nothing else: no pictures, no prompts, no masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.sam.video_model import Image, VideoModel

BoolMask = NDArray[np.bool_]
Box = tuple[float, float, float, float]
_POINTER, _POSITIONS = "object_pointer", "maskmem_pos_enc"
_MEMORY = ("maskmem_features", _POSITIONS)
_BOX_CORNERS = (2, 3)  # labels of the prompt encoder for a box's two corners


@dataclass(frozen=True, eq=False)
class Sighting:
    """An object in a frame.

    Attributes:
        logits: hxw float32 at the network's own size of masks, which is stretched to the frame;
            above 0 is inside.
        score: how probable it is that the object can be seen, 0 .. 1; below 0.5 nothing is inside.
    """

    logits: NDArray[np.float32]
    score: float

    def enlarged(self, hw: tuple[int, int]) -> NDArray[np.float32]:
        """The logits at a picture's (height, width)."""
        size = (hw[1], hw[0])
        return np.asarray(cv2.resize(self.logits, size, interpolation=cv2.INTER_LINEAR), np.float32)

    def mask(self, hw: tuple[int, int]) -> BoolMask:
        """HxW, True inside."""
        return np.asarray(self.enlarged(hw) > 0)


class VideoSession:
    """Follows objects through the frames of one stream.

    Args:
        model: may be shared by sessions.
        prune: forget what no later frame reads; without it memory grows with every frame, and
            masks are the same.
    """

    def __init__(self, model: VideoModel, *, prune: bool = True) -> None:
        self.model = model
        self.prune = prune
        self._objects: dict[int, Any] = {}
        self._features: Any = model.new_session().cache
        self._positions: Tensor | None = None
        self._index = -1
        self._image: Image | None = None
        self._pixels: Tensor | None = None
        self._seen: dict[int, Sighting] = {}  # in the frame that was shown last

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(self._objects)

    def step(self, image: Image) -> dict[int, Sighting]:
        """`show` a frame and `track` all objects in it."""
        self.show(image)
        return self.track()

    def show(self, image: Image) -> None:
        """The next frame, HxWx3 uint8 RGB; its size may differ from the last one's. Costs nothing
        until an object is looked for in it."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"a frame is {image.shape} {image.dtype}; wanted HxWx3 uint8")
        if not self._objects:
            self._features.clear_all()
        self._index += 1
        self._image, self._pixels, self._seen = image, None, {}

    def track(self) -> dict[int, Sighting]:
        """All objects in the frame that was shown last, by their ids."""
        for object_id, session in self._objects.items():
            if object_id not in self._seen:
                self._seen[object_id] = self._look(session)
        return dict(self._seen)

    def add_object(
        self, object_id: int, *, mask: BoolMask | None = None, box_xyxy: Box | None = None
    ) -> Sighting:
        """Begin to follow an object from the frame that was shown last, by a mask or a box.

        Args:
            object_id: a new one; to prompt an object anew, remove it first.
            mask: HxW of the frame's size; it is taken as the object's mask.
            box_xyxy: pixels of the frame; the network finds the mask in it.

        Raises:
            ValueError: when no frame was shown, the id is taken, the prompt is empty or outside
                of the frame, or there is not exactly one.
        """
        if self._image is None:
            raise ValueError("no frame was shown in which the object could be; call show first")
        if object_id in self._objects:
            raise ValueError(f"object {object_id} is followed already; remove it first")
        session = self.model.new_session()
        session.cache = self._features
        index = session.obj_id_to_idx(object_id)
        if mask is not None and box_xyxy is None:
            session.add_mask_inputs(index, self._index, self._mask_prompt(mask))
        elif box_xyxy is not None and mask is None:
            session.add_point_inputs(index, self._index, self._box_prompt(box_xyxy))
        else:
            raise ValueError("an object needs a mask or a box, and not both")
        session.obj_with_new_inputs = [object_id]
        sighting = self._seen[object_id] = self._look(session)
        self._objects[object_id] = session
        return sighting

    def remove_object(self, object_id: int) -> None:
        """Stop following an object and forget it.

        Raises:
            KeyError: when there is none of that id.
        """
        del self._objects[object_id]
        self._seen.pop(object_id, None)

    def state(self) -> dict[str, Any]:
        """What the next frames need, on the CPU, to be pickled; not the frame shown last."""
        moved: dict[int, Tensor] = {}  # tensors that are shared stay so

        def on_cpu(tensor: Tensor) -> Tensor:
            return moved.setdefault(id(tensor), tensor.cpu())

        return {"index": self._index, "objects": self._outputs(on_cpu)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where the session whose `state` this is was."""
        self._index, self._image, self._pixels = state["index"], None, None
        self._objects, self._seen, self._positions = {}, {}, None
        self._features.clear_all()
        for object_id, kept in state["objects"].items():
            session = self.model.new_session()
            session.cache = self._features
            outputs = session.output_dict_per_obj[session.obj_id_to_idx(object_id)]
            for kind, frames in kept.items():
                for index, tensors in frames.items():
                    on_device = {n: t.to(self.model.device) for n, t in tensors.items()}
                    if _POSITIONS in on_device:
                        on_device[_POSITIONS] = self._shared(on_device[_POSITIONS])
                    outputs[kind][index] = on_device
            self._objects[object_id] = session

    def _look(self, session: Any) -> Sighting:
        """One object in the frame that was shown last."""
        if self._image is None:
            raise ValueError("no frame was shown; call show first")
        if self._pixels is None:
            self._pixels = self.model.pixels(self._image)
        # with the frame and its number, always: without the frame transformers reads fewer pointers
        # while few frames are kept, and without the number it counts the frames that are kept
        output = self.model.network(
            inference_session=session, frame=self._pixels, frame_idx=self._index
        )
        if self.prune:
            self._forget(session)
        logits = output.pred_masks[0, 0].float().cpu().numpy()
        return Sighting(logits, float(output.object_score_logits.float().sigmoid().flatten()[0]))

    def _forget(self, session: Any) -> None:
        """Drop what none of the frames after this one reads."""
        session.processed_frames.clear()
        for outputs in session.output_dict_per_obj.values():
            for kind, frames in outputs.items():
                for index in list(frames):
                    wanted = self._read_later(index, prompted=kind == "cond_frame_outputs")
                    kept = {name: frames[index][name] for name in wanted}
                    if _POSITIONS in kept:
                        kept[_POSITIONS] = self._shared(kept[_POSITIONS])
                    if kept:
                        frames[index] = kept
                    else:
                        del frames[index]
        for inputs in (session.mask_inputs_per_obj, session.point_inputs_per_obj,
                       session.frames_tracked_per_obj):  # fmt: skip
            for of_frames in inputs.values():
                of_frames.clear()

    def _read_later(self, index: int, *, prompted: bool) -> tuple[str, ...]:
        """Of the outputs of a frame, what frames after the one shown last will read."""
        back = self._index + 1 - index
        pointer = (_POINTER,) if prompted or back <= self.model.pointers else ()
        return pointer + (_MEMORY if prompted or back <= self.model.memories else ())

    def _shared(self, positions: Tensor) -> Tensor:
        """The positions of a memory, which are the same in all frames, are kept once."""
        known = self._positions
        if known is None or not (known is positions or torch.equal(known, positions)):
            self._positions = known = positions
        return known

    def _outputs(self, moved: Any) -> dict[int, Any]:
        """What is kept of each object: by kind of frame, by frame, by name."""
        return {
            object_id: {
                kind: {
                    index: {
                        name: moved(tensor)
                        for name, tensor in tensors.items()
                        if name in (_POINTER, *_MEMORY)
                    }
                    for index, tensors in frames.items()
                }
                for outputs in session.output_dict_per_obj.values()
                for kind, frames in outputs.items()
            }
            for object_id, session in self._objects.items()
        }

    def _mask_prompt(self, mask: BoolMask) -> Tensor:
        """1 x 1 x side x side, 0 or 1."""
        assert self._image is not None
        if mask.shape != self._image.shape[:2]:
            raise ValueError(f"a mask of {mask.shape} for a frame of {self._image.shape[:2]}")
        if not mask.any():
            raise ValueError("the mask is empty; give one with pixels inside")
        size = (self.model.side_px, self.model.side_px)
        share = F.interpolate(
            torch.from_numpy(np.asarray(mask, np.float32))[None, None],
            size,
            mode="bilinear",
            antialias=True,
        )
        # of a mask so thin that it fills no pixel by half, the best filled ones
        return (share >= min(0.5, float(share.max()))).float()

    def _box_prompt(self, box_xyxy: Box) -> dict[str, Tensor]:
        assert self._image is not None
        height, width = self._image.shape[:2]
        box = np.clip(np.asarray(box_xyxy, float), 0, [width, height, width, height])
        if not (box[2:] > box[:2]).all():
            raise ValueError(f"the box {box_xyxy} has no pixel of the {width} x {height} frame")
        scale = self.model.side_px / np.array([width, height])
        corners = torch.from_numpy(box.reshape(1, 1, 2, 2) * scale).to(self.model.network.dtype)
        labels = torch.tensor(_BOX_CORNERS, dtype=torch.int32).view(1, 1, 2)
        return {"point_coords": corners, "point_labels": labels}
