"""Print the schema of a new database, as sql/schema.sql holds it."""

import os
import sqlite3
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))

from tmuxorch import store  # noqa: E402


def dump() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "task_queue.db")
        store.write(path)
        rows = sqlite3.connect(path).execute(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        )
        statements = [row[0].replace("\t", "    ") + ";" for row in rows]
    return "-- The schema after all migrations. Made by `make schema`; a test compares.\n\n" + "\n\n".join(statements) + "\n"


if __name__ == "__main__":
    print(dump(), end="")
