"""Where the tasks are kept: SQLite, which blocks, so call it in a thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

TASKS = 200


@dataclass(frozen=True)
class Task:
    id: int
    title: str
    assignee: int


class TaskStore:
    """Tasks in one SQLite file; thread safe. A new file starts with some tasks in it."""

    def __init__(self, path: str, users: int) -> None:
        self._lock = Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        with self._transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS task (id INTEGER PRIMARY KEY, title, assignee)")
            if db.execute("SELECT count(*) FROM task").fetchone() == (0,):
                db.executemany(
                    "INSERT INTO task (title, assignee) VALUES (?, ?)",
                    ((f"Task {n}", n % users + 1) for n in range(TASKS)),
                )

    def get(self, task_id: int) -> Task | None:
        with self._transaction() as db:
            row = db.execute("SELECT * FROM task WHERE id = ?", (task_id,)).fetchone()
        return row and Task(*row)

    def of_user(self, user_id: int) -> list[Task]:
        with self._transaction() as db:
            rows = db.execute(
                "SELECT * FROM task WHERE assignee = ? ORDER BY id DESC LIMIT 10", (user_id,)
            ).fetchall()
        return [Task(*row) for row in rows]

    def add(self, title: str, assignee: int) -> Task:
        with self._transaction() as db:
            done = db.execute("INSERT INTO task (title, assignee) VALUES (?, ?)", (title, assignee))
        assert done.lastrowid is not None
        return Task(done.lastrowid, title, assignee)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection:
            yield self._connection
