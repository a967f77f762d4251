"""Command lines of earlier releases: errors that give the current one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from qubastore.errors import UsageError


class MovedOptions(click.Command):
    """`rank`, whose former options `--explain`, `--flip` and `--sensitivity` are commands now."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse the former options; shell completion ignores them.

        Raises:
            UsageError: with the current command line.
        """
        for word in [] if ctx.resilient_parsing else args:
            name = word.partition("=")[0]
            if name in ("--explain", "--flip", "--sensitivity"):
                raise UsageError(
                    f"rank {name} is now a separate command",
                    hint=f"qubastore {shlex.join(_current(args, word))}",
                )
        return super().parse_args(ctx, args)


def _current(args: Sequence[str], word: str) -> list[str]:
    """The current command line for `rank` with a former option.

    Args:
        args: The arguments of `rank`.
        word: The one of them that is a former option.
    """
    name, equals, value = word.partition("=")
    at = args.index(word)
    if name == "--explain":
        model = [value] if equals else list(args[at + 1 : at + 2])
        rest = [*args[:at], *args[at + (1 if equals else 2) :]]
        return ["explain", *model, *rest]
    rest = [*args[:at], *args[at + 1 :]] if name == "--sensitivity" else list(args)
    return ["sensitivity", *rest]


@click.command(
    "diff",
    hidden=True,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.pass_context
def diff(ctx: click.Context) -> None:
    """`qubastore diff`, which is part of `compare` now."""
    words = list(ctx.args)
    if "--against" not in words and not any(word.startswith(("--show", "--against=")) for word in words):
        words += ["--show", "figures"]
    raise UsageError("diff is now part of compare", hint=f"qubastore {shlex.join(['compare', *words])}")
