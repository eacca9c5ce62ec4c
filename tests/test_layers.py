"""Imports run downwards only: cli -> operators -> streamer; model stands alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP_LAYER = {"streamer.cli", "streamer.commands", "streamer.__main__"}
PACKAGES = ("streamer", "operators", "model")


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def forbidden(module: str) -> tuple[str, ...]:
    if any(module == top or module.startswith(f"{top}.") for top in TOP_LAYER):
        return ()
    if module.startswith("model"):
        return ("streamer", "operators")
    if module.startswith("operators"):
        return ("streamer.cli", "streamer.commands")
    return ("operators", "model", "streamer.cli", "streamer.commands")


FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_downwards(path: Path) -> None:
    module = module_name(path)
    for imported in imported_modules(path):
        for upper in forbidden(module):
            assert not f"{imported}.".startswith(f"{upper}."), f"{module} imports {imported}"
        if imported.split(".")[0] == "ray":
            assert module == "streamer.executors.ray"


def test_the_rule_notices_a_wrong_import() -> None:
    assert "operators" in forbidden("streamer.sinks.jsonl")
    assert "streamer" in forbidden("model.osprey.vision")
    assert forbidden("streamer.cli") == ()
