"""`qubastore doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from qubastore.cli.options import output_options, store_option

if TYPE_CHECKING:
    from qubastore.maintenance.checks import Fault


COLUMNS = ("check", "run", "found", "mend")


HARMLESS = ("unfinished_runs", "orphans", "dead_ingests")
"""What work that was stopped leaves behind; numbers are right all the same."""


@click.command("doctor")
@click.option("--deep", is_flag=True, help="Read every row and the checksum of every file as well.")
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@store_option
@output_options
def command(store_path: str | None, deep: bool, repair: bool, format_: str, output: str | None) -> None:
    """Look for faults in the store: what is wrong, where, and the command that mends it.

    Exit code 1 where numbers may be wrong; unfinished runs, and files of work that was killed, are no faults of that
    kind.

    \b
    Example:
      qubastore doctor
      qubastore doctor --deep
      qubastore doctor --deep --repair
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.maintenance.doctor import examine
    from qubastore.maintenance.repair import repair as mend
    from qubastore.store import open_store

    with open_store(store_path, read_only=not repair) as store:
        faults = list(examine(store, deep=deep))
        if format_ != "table" or output:
            rows = [(fault.check, fault.run_id, fault.found, fault.mend) for fault in faults]
            write_rows(COLUMNS, rows, format_=format_, output=output)
        else:
            for fault in faults:
                _show(fault)
        if repair:
            for line in mend(store, faults):
                click.echo(line, err=True)
            faults = list(examine(store, deep=deep))
            for fault in faults:
                click.echo(f"left: {fault.found}", err=True)
    wrong = [fault for fault in faults if fault.check not in HARMLESS]
    if not faults:
        click.echo("nothing is wrong" + ("" if deep else "; --deep reads every row as well"), err=True)
    elif wrong:
        plural = "fault" if len(wrong) == 1 else "faults"
        click.echo(f"{len(wrong)} {plural} in {store.location}", err=True)
        sys.exit(1)


def _show(fault: Fault) -> None:
    colour = "yellow" if fault.check in HARMLESS else "red"
    place = f" run {fault.run_id}" if fault.run_id else ""
    click.echo(click.style(fault.check, fg=colour, bold=True) + f"{place}: {fault.found}")
    click.echo(f"  mend: {fault.mend}")
