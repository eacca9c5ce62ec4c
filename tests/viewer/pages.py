"""What tests of pages share: waiting, pictures, kinds of screens, accessibility."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHOTS = Path(os.environ.get("STREAMER_SHOTS", "out/view-shots"))
Open = Callable[..., Any]
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("light", {"color_scheme": "light"}),
    ("dark", {"color_scheme": "dark"}),
    ("phone", {
        "color_scheme": "light", "viewport": {"width": 390, "height": 844},
        "is_mobile": True, "has_touch": True, "device_scale_factor": 2,
    }),
]  # fmt: skip


def until(page: Any, condition: str) -> None:
    """Waits for a condition in the page; the page itself may not evaluate text as script."""
    end_s = time.monotonic() + 40
    while not page.evaluate(f"!!({condition})"):
        assert time.monotonic() < end_s, f"never came true: {condition}"
        page.wait_for_timeout(50)


def shoot(page: Any, name: str) -> bytes:
    SHOTS.mkdir(parents=True, exist_ok=True)
    return bytes(page.screenshot(path=str(SHOTS / f"{name}.png")))


def axe_faults(page: Any) -> list[str]:
    """What axe holds to be serious or worse."""
    axe_of = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe_of.Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {[n['html'] for n in v['nodes']][:2]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
