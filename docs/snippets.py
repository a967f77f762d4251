"""What cog writes into README.md and docs/: real commands with their real output. `make docs` runs it."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@cache
def workplace() -> Path:
    """A folder for the commands of all files: the examples, the digits, and the model file that the README shows."""
    folder = Path(tempfile.mkdtemp(prefix="qubastore-docs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "examples").symlink_to(ROOT / "examples")
    readme = (ROOT / "README.md").read_text("utf-8")
    for name, code in re.findall(r"```(?:python|toml)\n# (\w+\.\w+)\n(.*?)```", readme, flags=re.DOTALL):
        (folder / name).write_text(code)
    subprocess.run([sys.executable, "examples/digits/prepare.py", "images"], cwd=folder, check=True)
    return folder


def shell(*commands: str) -> str:
    """Commands and what they print, as a console block; figures of time are left out, they are never the same."""
    environment = {**os.environ, "COLUMNS": "100", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("QUBASTORE_STORE", None)
    lines = []
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=workplace(), env=environment, capture_output=True, text=True, check=True
        )
        lines += [f"$ {command}", *_steady(done.stderr + done.stdout).splitlines()]
    return "\n".join(["```console", *(line.rstrip() for line in lines), "```"])


def python(code: str) -> str:
    """Python code, and what it prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=workplace(), capture_output=True, text=True, check=True)
    return "\n".join(["```python", code.strip(), "```", "```text", done.stdout.rstrip(), "```"])


def _steady(text: str) -> str:
    # How often a line of progress appears depends on the machine; the last one, n of n, always does.
    text = re.sub(r".*: (\d+)/(?!\1 )\d+ images, .*\n", "", text)
    text = re.sub(r"\d+ threads", "... threads", text)
    text = re.sub(r"in [\d.]+ s", "in ... s", text)
    return re.sub(r"[\d,]+/s\b", ".../s", text)


def datasets() -> str:
    """The datasets that are known by name, as a Markdown table."""
    from qubastore.datasets.catalogue import KNOWN_DATASETS

    rows = [
        "| name | what | images | label space | framing | looked for in | get | size | licence |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    sets: dict[str, list[str]] = {}
    for name, known in KNOWN_DATASETS.items():
        sets.setdefault(name.partition("/")[0] if known.parts else name, []).append(name)
    for name, parts in sets.items():
        known = KNOWN_DATASETS[parts[0]]
        size = "-" if known.n_samples is None else f"{known.n_samples:,}"
        count = size if len(parts) == 1 else f"{len(parts)} x {size}"
        places = dict.fromkeys(place.removesuffix(known.parts[0]) if known.parts else place for place in known.folders)
        if known.parts:
            places = {place.rstrip("/") or ".": None for place in places if not place.endswith("noise/")}
        folders = ", ".join(f"`{place}`" for place in places)
        cells = (name, known.about, count, known.label_space, known.framing, folders)
        rows.append(f"| {' | '.join(cells)} | {known.get} | {known.size} | {known.licence} |")
    return "\n".join(rows)


def label_spaces() -> str:
    """The label spaces, as a Markdown table."""
    from qubastore.datasets.label_spaces import LABEL_SPACES

    rows = ["| name | rule | meaning | source |", "|---|---|---|---|"]
    rows += [f"| {s.name} | {s.rule} | {s.meaning} | {s.source or '-'} |" for s in LABEL_SPACES.values()]
    return "\n".join(rows)


def known_differences() -> str:
    """What is known of the published table, as a Markdown table: how many rows each difference marks in a dimension."""
    from qubastore.metrics.known_differences import known_differences

    counts: dict[tuple[str, str], dict[str, dict[str, int]]] = {}
    for each in known_differences():
        marked = counts.setdefault((each.cause.what, each.cause.kind), {})
        certainty = marked.setdefault(each.dimension, {"shown": 0, "likely": 0})
        certainty[each.certainty] += 1
    lines = ["| what | kind | dimension | shown | likely |", "|---|---|---|---:|---:|"]
    for (what, kind), dimensions in sorted(counts.items(), key=lambda item: (item[0][1], item[0][0])):
        for dimension, certainty in sorted(dimensions.items()):
            lines.append(f"| {what} | {kind} | {dimension} | {certainty['shown']} | {certainty['likely']} |")
    return "\n".join(lines)
