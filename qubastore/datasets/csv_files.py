"""Reading CSV files that users hand over: with line numbers, and errors that name them."""

from __future__ import annotations

import csv
from pathlib import Path

from qubastore.errors import ImportDataError


def read_csv(file: Path, columns: tuple[str, ...], *, lower: bool = False) -> list[tuple[int, dict[str, str]]]:
    """Line number and row of each line of a CSV file in UTF-8.

    Args:
        file: The file.
        columns: Columns that it must have; others may stand beside them.
        lower: Whether column names are read in lower case.

    Raises:
        ImportDataError: where it cannot be read, lacks a column, or a line is too short; naming file and line.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            names = list(reader.fieldnames or ())
            if lower:
                reader.fieldnames = names = [name.strip().lower() for name in names]
            missing = [column for column in columns if column not in names]
            if missing:
                raise ImportDataError(
                    f"{file} has no column {missing[0]!r}",
                    expected=f"columns {', '.join(columns)}",
                    found=", ".join(names) or "an empty file",
                )
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise ImportDataError(f"{file}: {error.strerror}", expected=f"a CSV file with {', '.join(columns)}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ImportDataError(f"{file} is no CSV file in UTF-8", found=str(error)) from None
    if not rows:
        raise ImportDataError(f"{file} has a header and no rows", expected="one row at least")
    for line, row in rows:
        if any(row[column] is None for column in columns):
            raise ImportDataError(f"{file}, line {line}: too few columns", expected=", ".join(columns))
    return rows
