"""Reading users' CSV files, with errors that name the file and the line."""

from __future__ import annotations

import csv
from pathlib import Path

from qubastore.errors import ImportDataError


def read_csv(file: Path, columns: tuple[str, ...], *, lower: bool = False) -> list[tuple[int, dict[str, str]]]:
    """The rows of a UTF-8 CSV file, each with its line number.

    Args:
        file: The file.
        columns: Required columns; additional ones are allowed.
        lower: Whether to convert column names to lower case.

    Raises:
        ImportDataError: If the file cannot be read, a column is missing, or a line is too short.
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
        raise ImportDataError(f"{file} is not a CSV file in UTF-8", found=str(error)) from None
    if not rows:
        raise ImportDataError(f"{file} has a header but no rows", expected="at least one row")
    for line, row in rows:
        if any(row[column] is None for column in columns):
            raise ImportDataError(f"{file}, line {line}: too few columns", expected=", ".join(columns))
    return rows
