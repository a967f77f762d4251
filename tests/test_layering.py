"""Who may import whom, and how little the quick commands load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "qubastore": ("torch", "torchvision", "timm", "open_clip", "ray", "click", "qubastore.evaluators", "qubastore.cli"),
    "evaluators": ("click", "qubastore.cli"),
    "sql": ("qubastore", "torch", "ray", "click"),
}
HEAVY = ("torch", "timm", "ray", "polars", "pyarrow", "numpy")


def _own_files(folder: str) -> list[Path]:
    root = ROOT / folder
    links = [path for path in root.iterdir() if path.is_symlink()]
    return [p for p in root.rglob("*.py") if not any(p.is_relative_to(link) for link in links)]


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder):
    files = _own_files(folder)
    assert files
    for path in files:
        for name in _imports(path):
            for forbidden in FORBIDDEN[folder]:
                assert not f"{name}.".startswith(f"{forbidden}."), f"{path} imports {name}"


@pytest.mark.parametrize("folder", ["evaluators", "sql", "cli"])
def test_top_level_folders_are_sub_packages(folder):
    link = ROOT / "qubastore" / folder
    assert link.is_symlink()
    assert link.resolve() == ROOT / folder


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [(["--help"], ()), (["rank", "--top", "3"], ()), (["sql", "select 1"], ()), (["show", "runs"], ())],
)
def test_quick_commands_load_little(arguments, allowed, store):
    code = (
        "import sys, contextlib\n"
        f"sys.argv = ['qubastore', *{arguments!r}]\n"
        "from qubastore.cli.main import main\n"
        "with contextlib.suppress(SystemExit):\n    main()\n"
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"QUBASTORE_STORE": str(store.path), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert run.stderr == "" or "note" in run.stderr
    assert run.stdout.splitlines()[-1] == f"LOADED {list(allowed)}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["rank", "--suite", "tiny", "--intervals", "--resamples", "5", "--format", "parquet"],
        ["compare", "good", "poor", "--show", "figures", "--suite", "tiny", "--resamples", "5"],
        ["compare", "good", "poor"],
        ["sql", "from accuracy", "--format", "parquet"],
        ["explain", "AlexNet"],
        ["report", "--suite", "tiny", "--resamples", "5", "-o", "report.html"],
    ],
)
def test_reading_needs_neither_polars_nor_pyarrow(arguments, tiny_suite, tmp_path):
    """345 MB that whoever only asks can do without."""
    code = (
        "import sys\n"
        "for name in ('polars', 'pyarrow'):\n    sys.modules[name] = None\n"
        f"sys.argv = ['qubastore', *{arguments!r}]\n"
        "from qubastore.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=tmp_path,
        env={"QUBASTORE_STORE": str(tiny_suite.path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout


def test_a_part_of_the_package_loads_no_duckdb():
    """The public names are looked up on first use."""
    code = "import sys, qubastore, qubastore.statistics.scores; print('duckdb' in sys.modules, qubastore.__version__)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split()[0] == "False"
