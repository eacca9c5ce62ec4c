"""A IIIF Presentation 3 manifest: the picture, an annotation for every region, scenes as ranges.

The walk's film is a second canvas with a duration, so that scenes can be named by their time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iiif_prezi3 import Manifest

from streamer.clock import NS_PER_S
from streamer.errors import ContractError
from streamer.scroll.findings import Finding
from streamer.scroll.narration import Scene, canvas_place
from streamer.sources.paths import Walk

Json = dict[str, Any]


def manifest(
    findings: Sequence[Finding],
    scenes: Sequence[Scene],
    walk: Walk,
    *,
    title: str,
    base: str,
    image: str,
    thumbnail_wh: tuple[int, int],
    film: str = "",
    film_wh: tuple[int, int] = (1280, 720),
    subtitles: str = "",
) -> Json:
    """The manifest as JSON data.

    Args:
        base: where the manifest will be published, the root of all ids.
        image: address of a JPEG of the picture, of `thumbnail_wh` = (width, height) pixels.
        film: address of the film, "" for none.
        subtitles: address of the narration as WebVTT, "" for none; a film shows it.

    Raises:
        ContractError: when it is not valid; that is a bug of this product.
    """
    height, width = walk.canvas_hw
    canvas_id = f"{base}/canvas/picture"
    picture = _canvas(canvas_id, title, width, height)
    body = {
        "id": image, "type": "Image", "format": "image/jpeg", "width": thumbnail_wh[0],
        "height": thumbnail_wh[1],
    }  # fmt: skip
    picture["items"] = [_painting(canvas_id, body)]
    picture["annotations"] = [
        {
            "id": f"{base}/annotations/regions",
            "type": "AnnotationPage",
            "label": _words("Regions"),
            "items": [
                _annotation(base, canvas_id, finding, walk.canvas_hw) for finding in findings
            ],
        }
    ]
    items = [picture]
    # a scene is a part of the picture and, where there is a film, a part of its time
    targets = [[f"{canvas_id}#xywh={_xywh(scene.box_xyxy)}"] for scene in scenes]
    if film:
        film_id = f"{base}/canvas/film"
        duration = round(walk.duration_ns / NS_PER_S, 3)
        canvas = _canvas(film_id, f"{title}: the walk", *film_wh)
        canvas["duration"] = duration
        video = {
            "id": film, "type": "Video", "format": "video/mp4", "width": film_wh[0],
            "height": film_wh[1], "duration": duration,
        }  # fmt: skip
        canvas["items"] = [_painting(film_id, video)]
        if subtitles:
            canvas["annotations"] = [_subtitles(base, film_id, subtitles)]
        items.append(canvas)
        for target, scene in zip(targets, scenes, strict=True):
            end_s = min(duration, scene.end_ns / NS_PER_S)
            target.append(f"{film_id}#t={scene.start_ns / NS_PER_S:.3f},{end_s:.3f}")
    data: Json = {
        "@context": "http://iiif.io/api/presentation/3/context.json",
        "id": f"{base}/manifest.json",
        "type": "Manifest",
        "label": _words(title),
        "items": items,
    }
    if walk.kind == "right_to_left":
        data["viewingDirection"] = "right-to-left"
    if scenes:
        ranges = [
            {
                "id": f"{base}/range/{scene.number}",
                "type": "Range",
                "label": _words(f"Scene {scene.number}"),
                "summary": _words(" ".join(s.text for s in scene.sentences) or "nothing found"),
                "items": [_reference(target) for target in parts],
            }
            for scene, parts in zip(scenes, targets, strict=True)
        ]
        data["structures"] = [
            {
                "id": f"{base}/range/walk",
                "type": "Range",
                "label": _words("Scenes"),
                "items": ranges,
            }
        ]
    check_manifest(data)
    return data


def check_manifest(data: Json) -> None:
    """Validate against the models of iiif-prezi3.

    Raises:
        ContractError: when the manifest is not valid; that is a bug of this product.
    """
    try:
        model = Manifest.model_validate(data)
    except ValueError as error:
        raise ContractError(f"the IIIF manifest is not valid: {error}") from None
    # the models mend what is nearly right and leave out what they do not know
    taken = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    if taken != _without_summaries(data):
        raise ContractError("the IIIF manifest is not valid: it has parts that IIIF does not know")


def _without_summaries(data: Any) -> Any:
    """JSON data without the summaries of ranges: the models do not know them, IIIF does."""
    if isinstance(data, list):
        return [_without_summaries(item) for item in data]
    if not isinstance(data, dict):
        return data
    is_range = data.get("type") == "Range"
    return {
        key: _without_summaries(value)
        for key, value in data.items()
        if not (is_range and key == "summary")
    }


def _annotation(base: str, canvas_id: str, finding: Finding, canvas_hw: tuple[int, int]) -> Json:
    text = finding.text or "a region without words"
    bodies = [_text(f"{text}, {canvas_place(finding, canvas_hw)} of the picture")]
    detail = finding.caption.detail if finding.caption else ""
    if detail and detail != text:  # of the close-up that was looked at
        bodies.append(_text(detail))
    return {
        "id": f"{base}/annotation/{finding.region_id}",
        "type": "Annotation",
        "motivation": "commenting",
        "body": bodies,
        "target": {
            "type": "SpecificResource",
            "source": {"id": canvas_id, "type": "Canvas"},
            "selector": [
                {
                    "type": "FragmentSelector",
                    "conformsTo": "http://www.w3.org/TR/media-frags/",
                    "value": f"xywh={_xywh(finding.box_xyxy)}",
                },
                {"type": "SvgSelector", "value": _svg(finding)},
            ],
        },
    }


def _text(value: str) -> Json:
    return {"type": "TextualBody", "value": value, "format": "text/plain", "language": "en"}


def _subtitles(base: str, film_id: str, address: str) -> Json:
    return {
        "id": f"{base}/annotations/narration",
        "type": "AnnotationPage",
        "items": [
            {
                "id": f"{base}/annotation/narration",
                "type": "Annotation",
                "motivation": "supplementing",
                "body": {
                    "id": address,
                    "type": "Text",
                    "format": "text/vtt",
                    "label": _words("Narration"),
                    "language": "en",
                },
                "target": film_id,
            }
        ],
    }


def _svg(finding: Finding) -> str:
    paths = "".join(
        "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in ring) + "Z" for ring in finding.outline()
    )
    return f"<svg xmlns='http://www.w3.org/2000/svg'><path d='{paths}'/></svg>"


def _reference(target: str) -> Json:
    source, _, fragment = target.partition("#")
    return {
        "type": "SpecificResource",
        "source": {"id": source, "type": "Canvas"},
        "selector": {
            "type": "FragmentSelector",
            "conformsTo": "http://www.w3.org/TR/media-frags/",
            "value": fragment,
        },
    }


def _canvas(canvas_id: str, label: str, width: int, height: int) -> Json:
    return {
        "id": canvas_id,
        "type": "Canvas",
        "label": _words(label),
        "width": width,
        "height": height,
    }


def _painting(canvas_id: str, body: Json) -> Json:
    painting = {
        "id": f"{canvas_id}/painting",
        "type": "Annotation",
        "motivation": "painting",
        "body": body,
        "target": canvas_id,
    }
    return {"id": f"{canvas_id}/page", "type": "AnnotationPage", "items": [painting]}


def _words(text: str) -> dict[str, list[str]]:
    return {"en": [text]}


def _xywh(box: tuple[int, int, int, int]) -> str:
    return f"{box[0]},{box[1]},{box[2] - box[0]},{box[3] - box[1]}"
