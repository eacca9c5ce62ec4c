"""Following objects without end: what transformers gives, in the memory of a few frames."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import Sam2ImageProcessor, Sam2VideoProcessor, Sam2VideoVideoProcessor

from model.sam.video_model import VideoModel
from model.sam.video_session import Sighting, VideoSession
from tests.model.sam.small_video_models import KINDS, SIDE_PX, film, small_video_model, square

HW = (48, 80)
FIRST, SECOND = square(HW, 5, 8, 30, 30), square(HW, 50, 25, 75, 45)
BOX, OTHER_BOX = (48.0, 20.0, 78.0, 46.0), (3.0, 5.0, 33.0, 28.0)


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> VideoModel:
    return small_video_model(request.param)


def logits(sightings: dict[int, Sighting]) -> dict[int, NDArray[np.float32]]:
    return {object_id: sighting.logits for object_id, sighting in sightings.items()}


def follow(session: VideoSession, frames: int) -> list[dict[int, NDArray[np.float32]]]:
    """Two objects, one by a mask and one by a box; a third is added on the way, the first ends."""
    seen = []
    for i, frame in enumerate(film(frames)):
        sightings = session.step(frame)
        if i == 1:
            sightings[1] = session.add_object(1, mask=FIRST)
            sightings[2] = session.add_object(2, box_xyxy=BOX)
        if i == 7:
            sightings[3] = session.add_object(3, mask=SECOND)
        if i == 21:
            session.remove_object(1)
        seen.append(logits(sightings))
    return seen


def assert_equal(
    first: list[dict[int, NDArray[np.float32]]], second: list[dict[int, NDArray[np.float32]]]
) -> None:
    assert [sorted(frame) for frame in first] == [sorted(frame) for frame in second]
    for a, b in zip(first, second, strict=True):
        for object_id in a:
            assert np.array_equal(a[object_id], b[object_id])


def assert_close(
    first: list[dict[int, NDArray[np.float32]]], second: list[dict[int, NDArray[np.float32]]]
) -> None:
    """Equal but for the order of sums in batches."""
    assert [sorted(frame) for frame in first] == [sorted(frame) for frame in second]
    for a, b in zip(first, second, strict=True):
        for object_id in a:
            np.testing.assert_allclose(a[object_id], b[object_id], atol=1e-4)


def processor() -> Any:
    """What transformers prepares its inputs with, for pictures of the small models' size."""
    size = {"height": SIDE_PX, "width": SIDE_PX}
    return Sam2VideoProcessor(
        image_processor=Sam2ImageProcessor(size=size),
        video_processor=Sam2VideoVideoProcessor(size=size),
        target_size=SIDE_PX,
    )


def by_transformers(
    model: VideoModel, frames: list[NDArray[np.uint8]], prompts: dict[int, dict[int, Any]]
) -> list[dict[int, NDArray[np.float32]]]:
    """A session of transformers that keeps everything; prompts by frame and object."""
    prepare, session, seen = processor(), model.new_session(), []
    for i, frame in enumerate(frames):
        inputs = prepare(images=frame, return_tensors="pt")
        for object_id, prompt in prompts.get(i, {}).items():
            pending = list(session.obj_with_new_inputs)  # which the next call would forget
            prepare.add_inputs_to_inference_session(
                session, i, object_id, original_size=HW, **prompt
            )
            session.obj_with_new_inputs = [*pending, object_id]
        if not session.obj_ids:
            seen.append({})
            continue
        out = model.network(inference_session=session, frame=inputs.pixel_values[0], frame_idx=i)
        seen.append({n: m[0].numpy() for n, m in zip(out.object_ids, out.pred_masks, strict=True)})
    return seen


def test_pictures_are_prepared_as_transformers_prepares_them(model: VideoModel) -> None:
    for hw in ((48, 80), (90, 64), (200, 350)):
        frame = film(1, hw)[0]
        theirs = processor()(images=frame, return_tensors="pt").pixel_values[0]
        torch.testing.assert_close(model.pixels(frame), theirs)


@pytest.mark.parametrize("by", ["mask", "box"])
def test_masks_are_those_of_transformers(model: VideoModel, by: str) -> None:
    frames, session, ours = film(20), VideoSession(model), []
    for i, frame in enumerate(frames):
        sightings = session.step(frame)
        if i == 0 and by == "mask":
            sightings[1] = session.add_object(1, mask=FIRST)
            sightings[2] = session.add_object(2, mask=SECOND)
        elif i == 0:
            sightings[1] = session.add_object(1, box_xyxy=OTHER_BOX)
            sightings[2] = session.add_object(2, box_xyxy=BOX)
        ours.append(logits(sightings))
    given = {
        "mask": {1: {"input_masks": [FIRST]}, 2: {"input_masks": [SECOND]}},
        "box": {1: {"input_boxes": [[list(OTHER_BOX)]]}, 2: {"input_boxes": [[list(BOX)]]}},
    }
    assert_close(ours, by_transformers(model, frames, {0: given[by]}))


def test_an_object_that_comes_later_leaves_the_others_alone(model: VideoModel) -> None:
    frames, session, ours = film(20), VideoSession(model), []
    for i, frame in enumerate(frames):
        sightings = session.step(frame)
        if i == 2:
            sightings[1] = session.add_object(1, box_xyxy=OTHER_BOX)
        if i == 9:
            sightings[2] = session.add_object(2, box_xyxy=BOX)
        ours.append(logits(sightings))
    first = {2: {1: {"input_boxes": [[list(OTHER_BOX)]]}}}
    second = {9: {2: {"input_boxes": [[list(BOX)]]}}}
    alone = [by_transformers(model, frames, prompts) for prompts in (first, second)]
    assert_close(ours, [a | b for a, b in zip(*alone, strict=True)])
    if model.kind == "edgetam_video":  # in one session of SAM 2's they do touch
        assert_close(ours, by_transformers(model, frames, first | second))


def test_what_is_forgotten_is_not_missed(model: VideoModel) -> None:
    pruned = follow(VideoSession(model), 32)
    assert_equal(pruned, follow(VideoSession(model, prune=False), 32))
    assert [sorted(pruned[i]) for i in (0, 1, 7, 21, 22, 31)] == [
        [], [1, 2], [1, 2, 3], [1, 2, 3], [2, 3], [2, 3]
    ]  # fmt: skip
    assert len({mask.tobytes() for seen in pruned for mask in seen.values()}) > 50  # they change


@pytest.mark.parametrize("what", ["memories", "pointers"])
def test_what_is_kept_is_needed(
    model: VideoModel, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One frame less of either, and the masks are others."""
    pruned = follow(VideoSession(model), 20)
    fewer = getattr(model, what) - 1
    monkeypatch.setattr(VideoModel, what, property(lambda self: fewer))
    session = VideoSession(model)
    if what == "memories":  # transformers looks for a memory where there is a pointer
        forget = session._forget

        def forget_all_of_it(inner: Any) -> None:
            forget(inner)
            for outputs in inner.output_dict_per_obj.values():
                others = outputs["non_cond_frame_outputs"]
                for index in [i for i, kept in others.items() if len(kept) == 1]:
                    if session._index + 1 - index <= fewer + 1:
                        del others[index]

        monkeypatch.setattr(session, "_forget", forget_all_of_it)
    masks = [np.concatenate([m.ravel() for m in seen[-1].values()]) for seen in
             (pruned, follow(session, 20))]  # fmt: skip
    assert not np.array_equal(*masks)


def tensor_bytes() -> int:
    """Of all tensors that are alive in this process, each storage once."""
    gc.collect()
    storages = {}
    for item in gc.get_objects():
        if type(item) is torch.Tensor:
            storage = item.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def grown(model: VideoModel, frames: int, *, prune: bool) -> list[int]:
    """Bytes of tensors after every 50th frame, against those before the session."""
    before, sizes = tensor_bytes(), []
    session, images = VideoSession(model, prune=prune), film(25)
    for i in range(frames):
        session.step(images[i % 25])
        if i == 0:
            session.add_object(0, mask=FIRST)
        if i % 50 == 30:  # one comes, one goes
            session.add_object(i, mask=SECOND)
        if i % 50 == 40:
            session.remove_object(i - 10)
        if i % 50 == 49:
            sizes.append(tensor_bytes() - before)
    return sizes


def test_memory_stays_flat(model: VideoModel) -> None:
    first, second = grown(model, 100, prune=True)
    assert first == second > 0
    (everything,) = grown(model, 50, prune=False)
    assert everything > 2 * first


@pytest.mark.slow
def test_memory_stays_flat_over_500_frames(model: VideoModel) -> None:
    sizes = grown(model, 500, prune=True)
    assert len(sizes) == 10
    assert len(set(sizes)) == 1


def test_no_object_is_no_error_and_no_work(
    model: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = VideoSession(model)
    frames = film(6)
    with monkeypatch.context() as patched:
        patched.setattr(VideoModel, "pixels", None)  # the frame is not even prepared
        assert session.step(frames[0]) == {}
        assert session.step(frames[1]) == {}
    session.add_object(4, mask=FIRST)
    assert sorted(session.step(frames[2])) == [4]
    session.remove_object(4)
    assert session.step(frames[3]) == {}
    session.add_object(4, box_xyxy=BOX)
    assert sorted(session.step(frames[4])) == [4]


def test_a_frame_is_encoded_once(model: VideoModel) -> None:
    session, encoded = VideoSession(model), []
    handle = model.network.vision_encoder.register_forward_hook(lambda *_: encoded.append(1))
    try:
        for i, frame in enumerate(film(6)):
            session.step(frame)
            if i == 1:  # the answer to the box was not wanted
                session.add_object(1, box_xyxy=BOX)
                session.remove_object(1)
                session.add_object(1, mask=FIRST)
            if i == 2:
                session.add_object(2, mask=SECOND)
            assert len(encoded) == i
    finally:
        handle.remove()


def test_a_frame_of_another_size(model: VideoModel) -> None:
    session = VideoSession(model)
    session.show(film(1)[0])
    session.add_object(1, mask=FIRST)
    (seen,) = session.step(film(1, (100, 60))[0]).values()
    assert seen.mask((100, 60)).shape == (100, 60)
    session.add_object(2, mask=square((100, 60), 10, 10, 50, 60))
    assert sorted(session.step(film(1)[0])) == [1, 2]


def test_an_object_prompted_before_the_others_are_tracked(model: VideoModel) -> None:
    frames, sessions = film(4), (VideoSession(model), VideoSession(model))
    for session in sessions:
        session.show(frames[0])
        session.add_object(1, mask=FIRST)
    first, second = sessions
    first.step(frames[1])
    a = first.add_object(2, mask=SECOND)
    second.show(frames[1])
    b = second.add_object(2, mask=SECOND)
    assert np.array_equal(a.logits, b.logits)
    assert second.track()[2] is b
    assert_equal([logits(first.step(frames[2]))], [logits(second.step(frames[2]))])


def test_another_session_goes_on(model: VideoModel) -> None:
    frames, whole, first = film(24), VideoSession(model), VideoSession(model)
    for i, frame in enumerate(frames[:12]):
        for session in (whole, first):
            session.step(frame)
            if i in (0, 5):
                session.add_object(i, mask=FIRST)
    state = pickle.dumps(first.state())
    second = VideoSession(model)
    second.restore(pickle.loads(state))
    with pytest.raises(ValueError, match="no frame was shown"):
        second.add_object(9, mask=FIRST)
    for frame in frames[12:]:
        assert_equal([logits(whole.step(frame))], [logits(second.step(frame))])


def test_a_mask_is_taken_as_it_is(model: VideoModel) -> None:
    session = VideoSession(model)
    session.show(film(1, (480, 800))[0])
    blob = square((480, 800), 200, 100, 500, 300)
    seen = session.add_object(1, mask=blob).mask((480, 800))
    assert (seen & blob).sum() / (seen | blob).sum() > 0.9
    dot = square((480, 800), 400, 200, 401, 201)
    seen = session.add_object(2, mask=dot)
    assert seen.score > 0.99  # it is there, though no pixel of the network's is half full
    assert session.add_object(3, mask=np.ones((480, 800), bool)).mask((480, 800)).all()


def test_prompts_that_make_no_sense(model: VideoModel) -> None:
    session = VideoSession(model)
    with pytest.raises(ValueError, match="no frame was shown"):
        session.add_object(1, mask=FIRST)
    with pytest.raises(ValueError, match="wanted HxWx3 uint8"):
        session.show(np.zeros((4, 4), np.uint8))
    session.show(film(1)[0])
    with pytest.raises(ValueError, match="empty"):
        session.add_object(1, mask=np.zeros(HW, bool))
    with pytest.raises(ValueError, match="for a frame of"):
        session.add_object(1, mask=np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="no pixel of the 80 x 48 frame"):
        session.add_object(1, box_xyxy=(90, 2, 99, 20))
    with pytest.raises(ValueError, match="a mask or a box"):
        session.add_object(1)
    with pytest.raises(ValueError, match="a mask or a box"):
        session.add_object(1, mask=FIRST, box_xyxy=BOX)
    assert session.object_ids == ()
    session.add_object(1, mask=FIRST)
    with pytest.raises(ValueError, match="followed already"):
        session.add_object(1, mask=FIRST)
    with pytest.raises(KeyError):
        session.remove_object(2)
