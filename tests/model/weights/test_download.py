"""Downloads from a real server on this machine: whole, broken off, wrong, absent."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.weights.download import fetch_file
from model.weights.known import KNOWN
from tests.model.weights.file_server import FileServer, file_server

ROOT = Path(__file__).resolve().parents[3]
DATA = np.random.default_rng(0).bytes(3 << 20)
MD5 = hashlib.md5(DATA).hexdigest()


def fetched(server: FileServer, path: Path, md5: str = MD5[:6]) -> list[str]:
    lines: list[str] = []
    fetch_file(f"{server.url}/sam.pth", path, md5, lines.append)
    return lines


def test_a_broken_download_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "sam.pth"
    with file_server({"sam.pth": DATA}) as server:
        server.stop_after = 2 << 20
        with pytest.raises(ConnectionError, match=r"broke off|IncompleteRead"):
            fetched(server, path)
        assert not path.exists()
        assert fetched(server, path)[0].endswith("(from 2 MiB on)")
        assert path.read_bytes() == DATA
        assert server.log == [("sam.pth", None), ("sam.pth", f"bytes={2 << 20}-")]
        assert fetched(server, path) == [f"{path} is complete"]
        assert [p.name for p in tmp_path.iterdir()] == ["sam.pth"]


def test_a_part_that_was_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "sam.pth"
    (tmp_path / "sam.pth.part").write_bytes(DATA)
    with file_server({"sam.pth": DATA}) as server:
        fetched(server, path)
    assert path.read_bytes() == DATA


def test_what_is_not_what_was_published(tmp_path: Path) -> None:
    path = tmp_path / "sam.pth"
    with file_server({"sam.pth": DATA}) as server:
        with pytest.raises(ValueError, match="does not begin with 000000; deleted"):
            fetched(server, path, "000000")
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(ConnectionError, match="answers 404"):
            fetch_file(f"{server.url}/other.pth", tmp_path / "other.pth", "", print)


PULL = """
import sys
from pathlib import Path
from model.weights.download import fetch
from model.weights.known import KnownModel
model = KnownModel("", 0.1, repository="some/model")
try:
    fetch(model, Path(sys.argv[1]), print)
except (ConnectionError, ValueError) as error:
    print(type(error).__name__, error)
"""


def pull(server_url: str, folder: Path) -> str:
    variables = {
        "HF_ENDPOINT": server_url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder.parent / "home"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PULL, str(folder)], capture_output=True, text=True, timeout=100,
        check=True, cwd=ROOT, env={**os.environ, **variables},
    )  # fmt: skip
    return done.stdout


def test_a_repository_through_the_hub(tmp_path: Path) -> None:
    files = {
        "config.json": b"{}",
        "pytorch_model-00001-of-00002.bin": DATA,
        "pytorch_model-00002-of-00002.bin": DATA[:1000],
        "picture.png": b"not wanted",
    }
    folder = tmp_path / "model"
    with file_server(files, "some/model") as server:
        said = pull(server.url, folder)
        got = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        assert got == {name: data for name, data in files.items() if name != "picture.png"}, said
        first = len(server.log)
        (folder / "config.json").unlink()
        server.published["config.json"] = "0" * 64
        said = pull(server.url, folder)
        assert "ValueError config.json came with another checksum" in said
        assert not (folder / "config.json").exists()
        assert [name for name, _ in server.log[first:]] == ["config.json"]  # the rest was here
    assert "ConnectionError" in pull(server.url, folder)


def test_known_models_say_where_they_are() -> None:
    for name, model in KNOWN.items():
        assert bool(model.repository) != bool(model.url), name
        assert model.size_gb > 0
        assert model.about
        if model.url:
            assert model.md5 in model.url
