"""The `qubastore` command: finds a command by name, loads it when it is asked for, and reports errors."""

from __future__ import annotations

import errno
import importlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from qubastore.cli.output.errors import report
from qubastore.errors import QubastoreError, check_text
from qubastore.version import __version__

HEADINGS = {
    "Ingest": {
        "init": "Make a store.",
        "ingest": "Run models over images, once each, and keep their outputs.",
        "status": "How far the ingests are.",
        "import": "Bring in results made elsewhere.",
    },
    "Ask": {
        "sql": "Ask the store anything.",
        "rank": "Rank models by weighted QUBA.",
        "explain": "What makes up a model's place in a ranking.",
        "sensitivity": "How much a ranking depends on its weights.",
        "compare": "Compare models, runs, groups, or measured and published.",
        "correlate": "Rank correlations between the quality dimensions.",
        "plot": "Draw what the store holds of a model, as text.",
        "show": "List models, runs, suites, views, dimensions, the zoo.",
    },
    "Derive": {
        "probe": "Fit classifiers on kept features: transfer to other tasks.",
        "calibrate": "Fit a temperature on kept logits.",
        "ensemble": "Average models from kept logits.",
        "rescore": "Other prompts or another temperature for a zero-shot model.",
    },
    "Share": {
        "report": "Write a report that people open: one HTML file.",
        "export": "Write the tables that others attach, with a manifest.",
        "attach": "Query and rank other stores or tables together with this one.",
        "detach": "Forget an attachment.",
        "copy": "Copy a store, or some of its models, into another.",
    },
    "Maintain": {
        "doctor": "Look for faults in the store, and repair them.",
        "gc": "Remove files that nothing refers to.",
        "rm": "Remove a model or a run.",
        "migrate": "Bring a store's schema to this release.",
    },
}
"""Heading -> command -> its line in `qubastore --help`. The module of a command is loaded only when it is used."""

COMMANDS = {name: line for commands in HEADINGS.values() for name, line in commands.items()}


class LazyGroup(click.Group):
    """A group whose commands are imported on use, so that help and quick questions start at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the module of a command."""
        if name == "diff":
            from qubastore.cli.moved import diff

            return diff
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"qubastore.cli.commands.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command on a slip."""
        from qubastore.errors import did_you_mean

        if args and args[0] not in (*COMMANDS, "diff") and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"No such command {args[0]!r}" + (f"; {hint}" if hint else "."))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        widest = max(map(len, COMMANDS))
        for heading, commands in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{widest}}", line) for name, line in commands.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="qubastore")
def cli() -> None:
    """A results store for image classifiers beyond accuracy.

    Run each model once per dataset, keep what it said, and ask every question of what was kept.

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
    to_nowhere = _goes_nowhere()
    try:
        _check_words(sys.argv[1:])
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
        # Click and rich end with 1 where a reader closed its pipe: one wraps the stream, the other leads it nowhere.
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper") or _goes_nowhere() != to_nowhere:
            _reader_left()
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            _reader_left()
        if error.filename is None:
            raise
        report(_of_system(error))
        sys.exit(1)
    sys.exit(0)


def _of_system(error: OSError) -> QubastoreError:
    """What the system says of a path, as an error of ours: a name that is too long, a folder that may not be read."""
    path = os.fsdecode(error.filename)
    shown = path if len(path) <= 120 else f"{path[:100]}... ({len(path)} characters)"
    hints = {
        errno.ENAMETOOLONG: "give a shorter name, or a path through a shorter symbolic link",
        errno.ENOSPC: "free some space, then run the same command again",
    }
    hint = hints.get(error.errno or 0, f"ls -ld {shlex.quote(path)}")
    return QubastoreError(f"{shown} cannot be used", found=error.strerror, hint=hint)


def _reader_left() -> NoReturn:
    """End well: the reader (head, a pager) has seen enough. Python must not complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    sys.exit(0)


def _goes_nowhere() -> bool:
    """Whether what is printed goes to the null device."""
    try:
        return os.fstat(1).st_rdev == os.stat(os.devnull).st_rdev  # noqa: PTH116
    except OSError:
        return False


def _prepare_streams() -> None:
    """Where the locale is not UTF-8, print what it lacks as `?` instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")


def _check_words(words: Sequence[str]) -> None:
    """Refuse what was typed and is not UTF-8: a path, a name or a query of a store is stored and sent as text.

    Raises:
        UsageError: naming it.
    """
    for word in words:
        check_text("what was typed", word)


if __name__ == "__main__":
    main()
