"""Measurement: alternating runs, medians with their spread, peak memory of a separate process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
REPEATS = 5


@dataclass(frozen=True)
class Figures:
    """The numbers of a row, for programs.

    Attributes:
        unit: Unit of the next two, as in `s` or `images/s`.
        ours: qubastore's figure.
        against: The alternative's figure; None without one.
        ratio: The ratio that the aim is about, or else how many times better ours is; None without an alternative.
    """

    unit: str
    ours: float
    against: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Row:
    """One comparison of RESULTS.md.

    Attributes:
        what: What was measured.
        ours: qubastore's figure, with its unit.
        against: The alternative, and its figure.
        ratio: The comparison as a number or sentence.
        aim: The target.
        met: Whether the target was reached; None without a target or a measurement.
        note: Spread, and remarks.
        figures: The same as numbers.
    """

    what: str
    ours: str
    against: str
    ratio: str
    aim: str
    met: bool | None
    note: str
    figures: Figures

    def as_json(self) -> str:
        """The row as one JSON object: numbers as numbers, and the sentences of RESULTS.md under `text`."""
        met = None if self.met is None else bool(self.met)
        text = {"ours": self.ours, "against": self.against, "ratio": self.ratio, "note": self.note}
        return json.dumps({"what": self.what, **asdict(self.figures), "aim": self.aim, "met": met, "text": text})


@dataclass
class Times:
    """Seconds of each repeat."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """The smallest and the largest time, as text."""
        return f"{min(self.seconds):.3g} to {max(self.seconds):.3g} s"


def alternate(
    ways: Mapping[str, Callable[[], float | None]], repeats: int = REPEATS, warm_up: bool = True
) -> dict[str, Times]:
    """Run each alternative in turn, `repeats` times; one may return the seconds to count instead of its whole time.

    With `warm_up` each runs once before, so that all find files cached and code compiled.
    """
    if warm_up:
        for way in ways.values():
            way()
    found = {name: Times() for name in ways}
    names = list(ways)
    for number in range(repeats):
        # Vary the order, so that a machine that slows down affects all alternatives.
        for name in names if number % 2 == 0 else reversed(names):
            started = time.perf_counter()
            own = ways[name]()
            found[name].seconds.append(own if own is not None else time.perf_counter() - started)
    return found


def in_process(code: str, *arguments: str, environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Run Python code in a separate process and return its `RESULT` with `peak_mib`, the largest resident size.

    Linux's `ru_maxrss` would include the size of this process at the time of the fork.
    """
    tail = (
        "\nimport json as _j, re as _re\n"
        "_peak = int(_re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) / 1024\n"
        "print(_j.dumps({**RESULT, 'peak_mib': _peak}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + tail, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the measured process failed:\n{done.stderr[-2000:]}")
    answer: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def timed(work: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def command_seconds(*command: str, environment: Mapping[str, str] | None = None) -> float:
    """The wall time of a command from start to exit, in seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **(environment or {})})
    return time.perf_counter() - started


def qubastore(*arguments: str) -> list[str]:
    """The command line of this environment's `qubastore`."""
    return [str(Path(sys.executable).parent / "qubastore"), *arguments]
