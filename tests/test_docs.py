"""README and docs are current: their generated parts are what the commands print today."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_generated_parts_are_current():
    pages = [str(ROOT / "README.md"), *map(str, sorted((ROOT / "docs").glob("*.md")))]
    done = subprocess.run(
        [sys.executable, "-m", "cogapp", "--check", "--diff", *pages], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"make docs, then look at the difference\n{done.stdout[-3000:]}{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_own_models_take_under_ten_lines():
    (code,) = re.findall(
        r"```python\n# my_models.py\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL
    )
    assert len([line for line in code.splitlines() if line.strip()]) < 10
