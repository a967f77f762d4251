"""User suites, defined in TOML."""

from __future__ import annotations

from typing import Any

from qubastore.conditions import DECODERS, FRAMINGS, PILLOW, Condition
from qubastore.errors import UsageError, check_name, did_you_mean
from qubastore.metrics.suites import BUILT_IN, ROLES, Role, Suite


def suite_from_table(table: dict[str, Any], where: str) -> Suite:
    """The suite that a TOML table describes.

    Args:
        table: `{"name": ..., "roles": {"clean": {"dataset": ..., "samples": ...}, "shifted": [{...}, {...}]}}`, or
            `{"name": ..., "roles_of": "quba"}` for the roles of a built-in suite. `decoder` is that of the runs that
            count, `pillow` by default.
        where: The file, for messages.

    Raises:
        UsageError: on a missing name, an unknown role, or a role without a dataset or number of samples.
    """
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise UsageError(f"{where}: [suite] has no name", hint='name = "my-suite"')
    if unknown := sorted(set(table) - set(_SUITE_KEYS)):
        raise UsageError(
            f"{where}: suite {name!r} has an unknown key {unknown[0]!r}",
            expected=", ".join(_SUITE_KEYS),
            hint=did_you_mean(unknown[0], _SUITE_KEYS),
        )
    if name in BUILT_IN:
        raise UsageError(f"{where}: the suite name {name!r} is taken by a built-in suite", hint="choose another name")
    decoder = check_name("decoder", str(table.get("decoder", PILLOW)), DECODERS)
    if "roles_of" in table:
        if "roles" in table:
            raise UsageError(f"{where}: suite {name!r} has both roles and roles_of", expected="one of them")
        other = check_name("built-in suite", str(table["roles_of"]), BUILT_IN)
        return Suite(name, BUILT_IN[other].roles, decoder=decoder)
    listed = table.get("roles", {})
    if not isinstance(listed, dict):
        raise UsageError(f"{where}: the roles of suite {name!r} are not a table", hint="[suite.roles]")
    roles: list[Role] = []
    for role, entries in listed.items():
        place = f"{where}: role {role!r} of suite {name!r}"
        if role not in ROLES:
            raise UsageError(
                f"{where}: unknown role {role!r} in suite {name!r}",
                expected=f"one of {', '.join(ROLES)}",
                hint=did_you_mean(role, ROLES),
            )
        entries = [
            each
            for entry in (entries if isinstance(entries, list) else [entries])
            for each in _role(role, entry, place)
        ]
        if ROLES[role] == "one" and len(entries) != 1:
            raise UsageError(f"{place} names {len(entries)} runs", expected="one dataset and one condition")
        roles += entries
    if not roles:
        raise UsageError(f"{where}: suite {name!r} has no roles", hint='add [suite.roles], or roles_of = "quba"')
    if len(set(roles)) < len(roles):
        doubled = next(role for role in roles if roles.count(role) > 1)
        raise UsageError(f"{where}: suite {name!r} names {doubled.dataset} twice as {doubled.role}")
    return Suite(name, tuple(roles), decoder=decoder)


_SUITE_KEYS = ("name", "roles", "roles_of", "decoder")

_KEYS = ("dataset", "samples", "condition", "conditions", "framing", "corruptions", "severities")


def _role(role: str, entry: Any, place: str) -> list[Role]:
    """The roles of `{ dataset, samples[, condition(s)][, framing][, corruptions, severities] }`."""
    samples = entry.get("samples") if isinstance(entry, dict) else None
    if (
        not isinstance(samples, int)
        or isinstance(samples, bool)
        or samples < 1
        or not isinstance(entry.get("dataset"), str)
    ):
        raise UsageError(
            f"{place} is incomplete",
            expected="a dataset name and the full number of samples",
            found=repr(entry),
            hint=f'{role} = {{ dataset = "my-images", samples = 1000 }}',
        )
    if unknown := sorted(set(entry) - set(_KEYS)):
        raise UsageError(
            f"{place} has an unknown key {unknown[0]!r}",
            expected=", ".join(_KEYS),
            hint=did_you_mean(unknown[0], _KEYS),
        )
    framing = check_name("framing", entry.get("framing", "model"), FRAMINGS)
    conditions = _texts(entry.get("conditions", entry.get("condition", "clean")), f"{place}: conditions")
    corruptions = _texts(entry.get("corruptions", []), f"{place}: corruptions")
    severities = _texts(entry.get("severities", []), f"{place}: severities")
    if bool(corruptions) != bool(severities):
        raise UsageError(
            f"{place} has corruptions without severities, or severities without corruptions",
            hint='corruptions = ["fog", "noise"], severities = [1, 2, 3, 4, 5]',
        )
    cells = [f"{entry['dataset']}/{c}/{s}" for c in corruptions for s in severities] or [entry["dataset"]]
    return [
        Role(role, cell, samples, str(condition), framing)
        for cell in cells
        for text in conditions
        for condition in Condition.parse_all(text)
    ]


def _texts(values: Any, place: str) -> list[str]:
    """A value or a list of values, as strings."""
    values = values if isinstance(values, list) else [values]
    if not all(isinstance(value, (str, int)) and not isinstance(value, bool) for value in values):
        raise UsageError(f"{place} is {values!r}", expected='a list such as ["fog", "noise"] or [1, 2, 3]')
    return [str(value) for value in values]
