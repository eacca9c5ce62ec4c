"""What a file or folder of weights is, from its headers: architecture, tensors, sizes, hash."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from model.weights.files import TensorInfo, file_hash, folder_headers, read_headers, weight_files

_VIDEO = {"sam2_video": "SAM 2 (video)", "edgetam_video": "EdgeTAM (video)"}
_SAM_WIDTHS = {768: "ViT-B", 1024: "ViT-L", 1280: "ViT-H"}


@dataclass(frozen=True)
class Summary:
    """What was found.

    Attributes:
        architecture: "Osprey", "SAM ViT-B", "CLIP (ConvNeXt, open_clip)", ...
        sizes: what the architecture is made of, in a line.
        dtypes: numbers of parameters by type.
        unused: tensors that nothing reads.
        sha256: its first 12 digits, over all weight files.
        problems: why it cannot be used; empty when it can.
    """

    path: str
    architecture: str
    sizes: str
    files: int
    size_bytes: int
    tensors: int
    parameters: int
    dtypes: dict[str, int]
    unused: int
    sha256: str
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def identify(path: Path) -> Summary:
    """Look at a weight file, or a folder with weights.

    Raises:
        ValueError: when there is nothing that could be read as weights.
    """
    if path.is_dir() and (path / "config.json").is_file():
        kind = _model_type(path / "config.json")
        if kind in _VIDEO:
            return _video(path, _VIDEO[kind])
        return _sam_nano(path) if kind == "sam-nano" else _osprey(path)
    file = path if path.is_file() else _only_file(path)
    headers = read_headers(file)
    architecture, sizes, problems = _of_tensors(headers)
    return _summary(path, architecture, sizes, headers, [file], problems)


def _osprey(folder: Path) -> Summary:
    from model.osprey.checkpoint import check_fit, find_tensors, is_unused, read_config
    from model.osprey.model import Osprey
    from model.osprey.tokenizer import load_tokenizer

    config = read_config(folder)
    files = weight_files(folder)
    headers = folder_headers(folder)
    problems = []
    try:
        with torch.device("meta"):
            model = Osprey(config)
        tensors = find_tensors(folder)
        files += sorted({info.path for info in tensors.values()} - set(files))
        check_fit(model, {name: info.shape for name, info in tensors.items()})
    except ValueError as error:
        problems.append(str(error))
    try:
        tokenizer = load_tokenizer(folder)
        found = tokenizer.convert_tokens_to_ids(["<mask>", "<pos>"])
        if found != [config.mask_token_id, config.pos_token_id]:
            problems.append(
                f"the tokenizer has <mask> and <pos> at {found}, the model wants "
                f"{[config.mask_token_id, config.pos_token_id]}"
            )
    except ValueError as error:
        problems.append(str(error))
    language = config.language
    sizes = (
        f"tower {'/'.join(map(str, config.vision_widths))}, language model of "
        f"{language['num_hidden_layers']} layers, width {language['hidden_size']}, "
        f"{language['vocab_size']} words, context {language['max_position_embeddings']}"
    )
    unused = sum(map(is_unused, headers))
    return _summary(folder, "Osprey", sizes, headers, files, problems, unused)


def _model_type(path: Path) -> str:
    """What a `config.json` says of itself; "" where it cannot be read, which is said later."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(data.get("model_type", "")) if isinstance(data, dict) else ""


def _sam_nano(folder: Path) -> Summary:
    from model.sam.checkpoint import load_nano

    problems = []
    try:
        load_nano(folder)
    except ValueError as error:
        problems.append(f"it {error}")
    headers = folder_headers(folder)
    return _summary(folder, "sam-nano", "masks only", headers, weight_files(folder), problems)


def _video(folder: Path, architecture: str) -> Summary:
    from model.sam.video_model import load_video_model

    sizes, problems = "", []
    try:
        model = load_video_model(folder, device="cpu")
        sizes = f"pictures of {model.side_px} px, memory of {model.memories} frames"
    except ValueError as error:
        problems.append(f"it {error}")
    headers = folder_headers(folder)
    return _summary(folder, architecture, sizes, headers, weight_files(folder), problems)


def _of_tensors(headers: Mapping[str, TensorInfo]) -> tuple[str, str, list[str]]:
    """Architecture, sizes and problems of a single file, by what its tensors are called."""
    if "image_encoder.pos_embed" in headers:
        _, rows, columns, width = headers["image_encoder.pos_embed"].shape
        kind = _SAM_WIDTHS.get(width)
        problems = [] if kind else [f"no SAM has an encoder of width {width}"]
        if "mask_decoder.iou_token.weight" not in headers:
            problems.append("the mask decoder is missing")
        return f"SAM {kind or 'of unknown size'}", f"{rows} x {columns} cells", problems
    if any(name.startswith("visual.trunk.stages.") for name in headers):
        widths = [
            headers[f"visual.trunk.stages.{i}.blocks.0.gamma"].shape[0]
            for i in range(4)
            if f"visual.trunk.stages.{i}.blocks.0.gamma" in headers
        ]
        text = "with" if "token_embedding.weight" in headers else "without"
        sizes = f"tower {'/'.join(map(str, widths))}, {text} a text tower"
        return "CLIP (ConvNeXt, open_clip)", sizes, []
    few = ", ".join(sorted(headers)[:3])
    return "unknown", f"tensors such as {few}", ["the product has no use for these weights"]


def _summary(
    path: Path,
    architecture: str,
    sizes: str,
    headers: Mapping[str, TensorInfo],
    files: list[Path],
    problems: list[str],
    unused: int = 0,
) -> Summary:
    dtypes: Counter[str] = Counter()
    for info in headers.values():
        dtypes[str(info.dtype).removeprefix("torch.")] += info.numel
    return Summary(
        path=str(path),
        architecture=architecture,
        sizes=sizes,
        files=len(files),
        size_bytes=sum(file.stat().st_size for file in files),
        tensors=len(headers),
        parameters=sum(info.numel for info in headers.values()),
        dtypes=dict(dtypes.most_common()),
        unused=unused,
        sha256=file_hash(files),
        problems=problems,
    )


def _only_file(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such file or folder")
    found = [p for end in ("safetensors", "bin", "pth", "pt") for p in folder.glob(f"*.{end}")]
    if len(found) != 1:
        raise ValueError(
            f"{folder} has no config.json and {len(found)} weight files; name a model folder or "
            "one file"
        )
    return found[0]
