"""What commands print: rows in every format, tables that fit the terminal, errors, the SQL prompt."""
