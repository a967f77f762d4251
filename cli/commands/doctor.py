"""`qubastore doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from qubastore.cli.options import output_options, store_option

if TYPE_CHECKING:
    from qubastore.maintenance.checks import Fault


COLUMNS = ("check", "run", "found", "repair")


HARMLESS = ("unfinished_runs", "orphans", "dead_ingests")
"""Checks for what interrupted work leaves behind; numbers are right all the same."""


@click.command("doctor")
@click.option("--deep", is_flag=True, help="Also read every row and verify the checksum of every file.")
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
@store_option
@output_options
def command(store_path: str | None, deep: bool, repair: bool, format_: str, output: str | None) -> None:
    """Check the store for faults: what is wrong, where, and the command that repairs it.

    The exit code is 1 if numbers may be wrong; unfinished runs and files of killed work do not count.

    \b
    Example:
      qubastore doctor
      qubastore doctor --deep
      qubastore doctor --deep --repair
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.maintenance.doctor import examine
    from qubastore.maintenance.repair import repair as repair_faults
    from qubastore.store import open_store

    with open_store(store_path, read_only=not repair) as store:
        faults = list(examine(store, deep=deep))
        if format_ != "table" or output:
            rows = [(fault.check, fault.run_id, fault.found, fault.repair) for fault in faults]
            write_rows(COLUMNS, rows, format_=format_, output=output)
        else:
            for fault in faults:
                _show(fault)
        if repair:
            for line in repair_faults(store, faults):
                click.echo(line, err=True)
            faults = list(examine(store, deep=deep))
            for fault in faults:
                click.echo(f"left: {fault.found}", err=True)
    wrong = [fault for fault in faults if fault.check not in HARMLESS]
    if not faults:
        click.echo("nothing is wrong" + ("" if deep else "; --deep also reads every row"), err=True)
    elif wrong:
        plural = "fault" if len(wrong) == 1 else "faults"
        click.echo(f"{len(wrong)} {plural} in {store.location}", err=True)
        sys.exit(1)


def _show(fault: Fault) -> None:
    colour = "yellow" if fault.check in HARMLESS else "red"
    place = f" run {fault.run_id}" if fault.run_id else ""
    click.echo(click.style(fault.check, fg=colour, bold=True) + f"{place}: {fault.found}")
    click.echo(f"  repair: {fault.repair}")
