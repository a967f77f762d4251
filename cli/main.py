"""The `qubastore` command: finds a subcommand by name, imports it on use, and reports errors."""

from __future__ import annotations

import errno
import importlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from qubastore.cli.output.errors import report
from qubastore.errors import QubastoreError, check_text
from qubastore.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

HEADINGS = {
    "Ingest": {
        "init": "Create a store.",
        "new-suite": "Write a suite for a folder of your own images.",
        "ingest": "Run models over images, once each, and keep their outputs.",
        "status": "Show the progress of ingests.",
        "bench": "Measure what models cost on this machine's device.",
        "import": "Import results made elsewhere.",
    },
    "Ask": {
        "sql": "Query the store in SQL.",
        "rank": "Rank models by weighted QUBA.",
        "explain": "Explain a model's place in a ranking.",
        "sensitivity": "Show how much a ranking depends on its weights.",
        "compare": "Compare models, runs, groups, or measured and published values.",
        "correlate": "Compute rank correlations between quality dimensions.",
        "plot": "Plot the results of a model as text.",
        "view": "Look at images, mistakes, classes and slices in a browser.",
        "show": "List models, runs, suites, views, dimensions or the zoo.",
    },
    "Derive": {
        "probe": "Fit classifiers on kept features, for transfer to other tasks.",
        "calibrate": "Fit a temperature on kept logits.",
        "ensemble": "Average models from kept logits.",
        "rescore": "Change the prompts or temperature of a zero-shot model.",
    },
    "Share": {
        "report": "Write an interactive report as one HTML file.",
        "export": "Export tables for others to attach, with a manifest.",
        "attach": "Query and rank other stores or tables together with this one.",
        "detach": "Remove an attachment.",
        "copy": "Copy a store, or some of its models, into another.",
    },
    "Maintain": {
        "doctor": "Check the store for faults and repair them.",
        "compact": "Merge files, so that questions stay fast.",
        "gc": "Remove files that nothing refers to.",
        "rm": "Remove a model or a run.",
        "migrate": "Upgrade a store's schema to this release.",
    },
}
"""Heading -> command -> its line in `qubastore --help`. The module of a command is imported only when it is used."""

COMMANDS = {name: line for commands in HEADINGS.values() for name, line in commands.items()}


class LazyGroup(click.Group):
    """A group that imports a command only when it is used, so that help, completion and short commands start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of a name, whose module is imported here; None for an unknown name."""
        if name == "diff":
            from qubastore.cli.moved import diff

            return diff
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"qubastore.cli.commands.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant, or fail with the nearest name; shell completion fails silently."""
        from qubastore.errors import did_you_mean

        is_known = not args or args[0] in (*COMMANDS, "diff") or args[0].startswith("-")
        if not is_known and not ctx.resilient_parsing:
            hint = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"No such command {args[0]!r}" + (f"; {hint}" if hint else "."))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by heading, without importing them."""
        widest = max(map(len, COMMANDS))
        for heading, commands in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{widest}}", line) for name, line in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands and the group's own options, without importing the commands."""
        from click.shell_completion import CompletionItem

        commands = [CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="qubastore")
def cli() -> None:
    """A results store for image classifiers beyond accuracy.

    Run each model once per dataset, keep its outputs, and answer every later question from them.

    \b
    Example:
      qubastore init
      qubastore ingest --model timm:resnet18.a1_in1k --dataset imagenet-val=/data/val
      qubastore sql "from accuracy"
      qubastore rank --weight calibration=2
    """


def main() -> NoReturn:
    """Run the command line; the entry point of the console script."""
    _prepare_streams()
    to_null_device = _stdout_is_null()
    try:
        _check_arguments(sys.argv[1:])
        cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as request:
        sys.exit(request.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except QubastoreError as error:
        report(error)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        sys.exit(130)
    except SystemExit:
        # Click and rich exit with 1 when the reader closes its pipe. To tell: click wraps stdout, and rich redirects it
        # to the null device.
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper") or _stdout_is_null() != to_null_device:
            _exit_on_closed_pipe()
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            _exit_on_closed_pipe()
        if error.filename is None:
            raise
        report(_from_os_error(error))
        sys.exit(1)
    sys.exit(0)


def _from_os_error(error: OSError) -> QubastoreError:
    """Turn the operating system's error about a path (name too long, permission denied) into a `QubastoreError`."""
    path = os.fsdecode(error.filename)
    shown = path if len(path) <= 120 else f"{path[:100]}... ({len(path)} characters)"
    hints = {
        errno.ENAMETOOLONG: "give a shorter name, or a path through a shorter symbolic link",
        errno.ENOSPC: "free some space, then run the same command again",
    }
    hint = hints.get(error.errno or 0, f"ls -ld {shlex.quote(path)}")
    return QubastoreError(f"{shown} cannot be used", found=error.strerror, hint=hint)


def _exit_on_closed_pipe() -> NoReturn:
    """Exit with 0 after the reader (`head`, a pager) closed the pipe; Python must not complain when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    sys.exit(0)


def _stdout_is_null() -> bool:
    """Whether standard output is the null device."""
    try:
        return os.fstat(1).st_rdev == os.stat(os.devnull).st_rdev  # noqa: PTH116
    except OSError:
        return False


def _prepare_streams() -> None:
    """Where the locale is not UTF-8, print characters that it cannot encode as `?` instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that are not UTF-8: a path, a name or a query is stored and sent as text.

    Raises:
        UsageError: naming the argument.
    """
    for argument in arguments:
        check_text("an argument", argument)


if __name__ == "__main__":
    main()
