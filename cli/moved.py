"""Command lines of earlier releases: an error that gives the new one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from qubastore.errors import UsageError


class MovedOptions(click.Command):
    """`rank`, of which `--explain`, `--flip` and `--sensitivity` have become commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what has moved.

        Raises:
            UsageError: with the command line of today.
        """
        for word in args:
            name = word.partition("=")[0]
            if name in ("--explain", "--flip", "--sensitivity"):
                raise UsageError(
                    f"rank {name} is a command of its own now",
                    hint=f"qubastore {shlex.join(_today(args, word))}",
                )
        return super().parse_args(ctx, args)


def _today(args: Sequence[str], word: str) -> list[str]:
    """The words of `rank` with an option that has moved, as they are typed today."""
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
    """`qubastore diff`, which `compare` has taken over."""
    words = list(ctx.args)
    if "--against" not in words and not any(word.startswith(("--show", "--against=")) for word in words):
        words += ["--show", "figures"]
    raise UsageError("diff is part of compare now", hint=f"qubastore {shlex.join(['compare', *words])}")
