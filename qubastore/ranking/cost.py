"""What a model costs, in place of its number of parameters: work for one image, or a figure measured on a device."""

from __future__ import annotations

from dataclasses import dataclass

from qubastore.conditions import PRECISIONS
from qubastore.errors import UsageError, check_name, did_you_mean
from qubastore.lake.database import Database
from qubastore.lake.ducklake import quote

WORK = ("macs_g", "activations_m")
"""Costs that do not depend on a device: columns of the view `rankable`."""

ON_A_DEVICE = ("latency_ms", "latency_p99_ms", "ms_per_image", "peak_memory_mb", "energy_j")
"""Costs that `qubastore bench` measures: columns of the view `benchmarks`."""

REPLACED = "parameters"
"""The dimension whose place a cost takes."""

DEFAULT_PRECISION = "fp32"


@dataclass(frozen=True)
class Cost:
    """A cost by which models are ranked in place of their number of parameters; less is better.

    Attributes:
        name: One of `WORK` or `ON_A_DEVICE`.
        device: Name of the device, or a part of it; None for `WORK`.
        precision: Precision of the passes.
    """

    name: str
    device: str | None = None
    precision: str = DEFAULT_PRECISION

    @classmethod
    def parse(cls, text: str) -> Cost:
        """Parse `NAME`, `NAME@DEVICE` or `NAME@DEVICE:PRECISION`.

        Raises:
            UsageError: on an unknown name, or a device where none belongs or one is needed.
        """
        name, at, rest = text.partition("@")
        check_name("cost", name, (*WORK, *ON_A_DEVICE))
        if name in WORK:
            if at:
                raise UsageError(f"--cost {text}: {name} is the same on every device", hint=f"--cost {name}")
            return cls(name)
        device, _, precision = rest.rpartition(":") if rest.rpartition(":")[2] in PRECISIONS else (rest, "", "")
        if not device:
            raise UsageError(
                f"--cost {text} does not name a device",
                expected="NAME@DEVICE, or NAME@DEVICE:PRECISION",
                hint="qubastore show benchmarks, for the devices",
            )
        return cls(name, device, precision or DEFAULT_PRECISION)

    def measured(self, store: Database) -> MeasuredCost:
        """This cost as the store has it on its device.

        Raises:
            UsageError: if no device has that name or several have, or there is no figure in that precision.
        """
        assert self.device is not None
        rows = store.rows("select distinct device, precision from device_benchmarks order by all")
        known = list(dict.fromkeys(device for device, _ in rows))
        found = _called(self.device, known)
        if not found and (before := self.device.rpartition(":"))[0] and _called(before[0], known):
            check_name("precision", before[2], PRECISIONS)
        if len(found) != 1:
            raise UsageError(
                f"{len(found) or 'no'} devices with benchmarks are called {self.device!r}",
                expected="the name of one, or a part of it",
                found="; ".join(found or known) or "no benchmark in this store",
                hint=did_you_mean(self.device, known)
                or "qubastore bench --model ID, on the device; qubastore show benchmarks",
            )
        precisions = [precision for device, precision in rows if device == found[0]]
        if self.precision not in precisions:
            raise UsageError(
                f"no benchmark on {found[0]} is in {self.precision}",
                found=", ".join(precisions),
                hint=f"--cost '{self.name}@{self.device}:{precisions[0]}'",
            )
        where = f"device = {quote(found[0])} and precision = {quote(self.precision)} and {self.name} is not null"
        newest = f"select model, arg_max(runtime, measured_at) as runtime from benchmarks where {where} group by model"
        runtimes = [row[0] for row in store.rows(f"select distinct runtime from ({newest}) order by runtime")]
        query = f"select model, arg_max({self.name}, measured_at) as cost from benchmarks where {where} group by model"
        return MeasuredCost(found[0], query, runtimes)

    def note(self, measured: MeasuredCost | None) -> str:
        """The note on a ranking by this cost; None for `WORK`."""
        if measured is None:
            return f"by {self.name} in place of the number of parameters"
        mixed = f" ({len(measured.runtimes)} runtimes, which may differ in speed)" if len(measured.runtimes) > 1 else ""
        with_runtimes = f"with {' and '.join(measured.runtimes)}{mixed}" if measured.runtimes else "not measured"
        return f"by {self.name} on {measured.device} in {self.precision}, {with_runtimes}, in place of the parameters"


@dataclass(frozen=True)
class MeasuredCost:
    """A cost on a device.

    Attributes:
        device: The whole name of the device.
        query: The SELECT of each model's figure, the newest of several runtimes': columns `model` and `cost`.
        runtimes: The runtimes of these figures.
    """

    device: str
    query: str
    runtimes: list[str]


def _called(text: str, devices: list[str]) -> list[str]:
    """The devices that a text means: the one of that name, or those whose name it is a part of."""
    wanted = text.casefold()
    return [name for name in devices if name.casefold() == wanted] or [
        name for name in devices if wanted in name.casefold()
    ]


def dimension_label(name: str, cost: str | None) -> str:
    """The name of a dimension in a ranking, where a cost may take the place of the number of parameters."""
    return cost.partition("@")[0] if cost is not None and name == REPLACED else name


def dimension_of(name: str, cost: str | None) -> str:
    """The dimension that a name means in a request, where a cost may be named as one."""
    return REPLACED if cost is not None and name == cost.partition("@")[0] else name
