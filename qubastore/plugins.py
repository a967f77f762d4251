"""Loaders and datasets that other packages add through entry points."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from qubastore.errors import UsageError, in_one_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

LOADERS, DATASETS = "qubastore.loaders", "qubastore.datasets"
"""The groups of entry points."""


@dataclass(frozen=True)
class Plugin:
    """What another package adds.

    Attributes:
        name: Its name, that of the entry point.
        package: The package that has it.
        module: Where it is, as in `package.module` or `package.module:object`.
    """

    name: str
    package: str
    module: str
    _entry: EntryPoint = field(repr=False)

    def load(self) -> Any:
        """Import it. This runs the code of its package.

        Raises:
            UsageError: if that fails.
        """
        try:
            return self._entry.load()
        except Exception as error:
            raise UsageError(
                f"{self.name} of the package {self.package} cannot be imported",
                found=f"{self.module}: {in_one_line(error)}",
                hint=f"pip install --upgrade {self.package}",
            ) from error


def plugins(group: str, own: Collection[str]) -> dict[str, Plugin]:
    """What the installed packages add to a group: name -> plugin. Nothing of theirs is imported.

    Args:
        group: `LOADERS` or `DATASETS`.
        own: The names that this package has.

    Raises:
        UsageError: if two packages add the same name, or one adds a name of this package.
    """
    found: dict[str, Plugin] = {}
    for plugin in _installed(group):
        other = "qubastore itself" if plugin.name in own else None
        if plugin.name in found and found[plugin.name].module != plugin.module:
            other = f"the package {found[plugin.name].package}"
        if other is not None:
            raise UsageError(
                f"{plugin.name} is in the group {group} twice: in the package {plugin.package} and in {other}",
                expected="one package for each name",
                hint=f"pip uninstall {plugin.package}",
            )
        found[plugin.name] = plugin
    return found


@cache
def _installed(group: str) -> tuple[Plugin, ...]:
    from importlib.metadata import entry_points

    return tuple(
        Plugin(entry.name, entry.dist.name if entry.dist else "unknown", entry.value, entry)
        for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value))
    )
