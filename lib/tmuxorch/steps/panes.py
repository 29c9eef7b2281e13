"""The panes of the tmux server as rows, and the agents that are missing: what tmo-ls prints.

A step apart from `look`, so that a command which only lists loads nothing that it does not need.
"""

from __future__ import annotations

from .. import project as projects
from .. import store, tmux
from ..config import Config
from ..errors import Later

ROW = {
    "project_id": int, "session_name": str, "window_index": int, "window_name": str, "pane_id": str, "target": str,
    "role": str, "agent": str, "pane_pid": int, "pane_command": str, "directory": str, "dead": bool,
}  # fmt: skip


class Panes:
    """The panes at one moment. `panes` is empty and `server` says why when tmux has none to show: `none` when no
    server runs, `silent` when it does not answer."""

    def __init__(self, config: Config, db: store.Store | None, now: float) -> None:
        self.config, self.db, self.now = config, db, now
        self.tmux = tmux.Tmux(config.socket, config["tmux_timeout_s"])
        self.server = "up"
        self.known: dict[tuple, dict] = {}
        self.runs: dict[str, int] = {}  # the project of each agent's launch
        self.projects: dict[int, dict] = {}
        self.panes = self.ask()
        self.by_id = {pane["pane_id"]: pane for pane in self.panes}
        self.rows = [self.row(pane) for pane in self.panes]
        self.by_role = {(row["project_id"], row["role"]): row for row in self.rows if row["role"]}

    def ask(self) -> list[dict]:
        """The panes, and what the database knows of projects that run or that a pane names. It is read while tmux
        answers, since both take their time; of a pane that was launched in between it is read again."""
        panes: list[dict] = []
        try:
            answer = self.tmux.ask_panes()
            self.load(self.db.projects(status=store.RUNNING) if self.db else [])
            self.meanwhile()
            panes = answer()
        except tmux.NoServer:
            self.server = "none"
        except Later as error:
            self.server, self.silence = "silent", str(error)
        unread = {
            number for pane in panes if (number := projects.number(pane["@tmo_project"])) and not self.read(number, pane)
        }
        self.load(self.db.projects(unread) if self.db and unread else [])
        return panes

    def read(self, number: int, pane: dict) -> bool:
        """Whether what was read of a pane's project is of this launch."""
        agent = self.known.get((number, pane["@tmo_role"]))
        return number in self.projects and (not agent or agent["run"] == pane["@tmo_run"])

    def meanwhile(self) -> None:
        """What else there is to read while tmux answers."""

    def load(self, found: list[dict]) -> None:
        self.projects |= {row["id"]: row for row in found}
        agents = self.db.agents([row["id"] for row in found]) if self.db and found else []
        self.known |= {(row["project_id"], row["role"]): row for row in agents}
        self.runs |= {row["run"]: row["project_id"] for row in agents if row["run"]}

    def row(self, pane: dict) -> dict:
        """A pane's row."""
        project = self.owner(pane)
        return {
            "project_id": project["id"] if project else None,
            "session_name": pane["session_name"],
            "window_index": pane["window_index"],
            "window_name": pane["window_name"],
            "pane_id": pane["pane_id"],
            "target": target(pane),
            "role": (pane["@tmo_role"] or None) if project else None,
            "agent": (pane["@tmo_agent"] or None) if project else None,
            "pane_pid": pane["pane_pid"],
            "pane_command": pane["pane_current_command"],
            "directory": (project["project_path"] if project else None) or pane["pane_current_path"],
            "dead": pane["pane_dead"],
        }

    def owner(self, pane: dict) -> dict | None:
        """The project whose pane it is, None for what is not ours."""
        project = self.projects.get(projects.number(pane["@tmo_project"]) or 0)
        if project and owns(project, pane):
            return project
        return self.projects.get(self.runs.get(pane["@tmo_run"], 0))  # it was moved into another session

    def project(self, number: int) -> dict | None:
        """A project by its id, though it may neither run nor have a pane."""
        if number not in self.projects and self.db:
            self.load(self.db.projects([number]))
        return self.projects.get(number)

    def missing_row(self, project: dict, role: str) -> dict:
        """The row of an agent that a project should have and has not."""
        known = self.known.get((project["id"], role), {})
        return {
            "project_id": project["id"],
            "session_name": project["session_name"],
            "window_index": known.get("window_index"),
            "window_name": None,
            "pane_id": None,
            "target": f"{project['id']}/{role}",
            "role": role,
            "agent": project["agent"],
            "pane_pid": None,
            "pane_command": None,
            "directory": project["project_path"],
            "dead": None,
        }

    def all_rows(self) -> list[dict]:
        """A row for every pane, and one for every agent that is missing."""
        self.need_server()
        missing = [
            self.missing_row(project, role)
            for project in self.projects.values() if project["status"] in store.LIVE
            for role in roles(project) if (project["id"], role) not in self.by_role
        ]  # fmt: skip
        return self.rows + missing

    def need_server(self) -> None:
        if self.server == "silent":
            raise Later(self.silence)

    def find(self, target: str) -> list[dict]:
        """The rows of the panes that a TARGET names exactly: `%12`, `session:window[.pane]` or `ID/role`."""
        self.need_server()
        word, slash, role = target.partition("/")
        if slash and (number := projects.number(word)):
            found = self.by_role.get((number, projects.role_key(role)))
            return [found] if found else []
        return [self.row(pane) for pane in tmux.find(self.panes, target)]

    def missing(self, target: str) -> list[dict]:
        """The row of an agent `ID/role` that should be there and has no pane."""
        return [row for row in self.all_rows() if row["pane_id"] is None and row["target"] == target]

    def of(self, given: dict) -> dict | None:
        """The row of the agent that a given row speaks of, as it is now; None when it names none."""
        if isinstance(given.get("pane_id"), str):
            pane = self.by_id.get(given["pane_id"])
            return self.row(pane) if pane else self.gone(given)
        number, role = given.get("project_id"), given.get("role")
        project = self.project(number) if type(number) is int else None
        if project and isinstance(role, str):
            return self.by_role.get((project["id"], role)) or self.missing_row(project, role)
        if isinstance(given.get("target"), str):
            found = self.find(given["target"]) or self.missing(given["target"])
            return found[0] if len(found) == 1 else None
        return None

    def gone(self, given: dict) -> dict:
        """The row of a pane that is no more, as it was given; a value of another type counts as none."""
        row = {key: given[key] if type(given.get(key)) is kind else None for key, kind in ROW.items()}
        if row["project_id"]:
            self.project(row["project_id"])  # it may have ended
        return row | {"pane_id": None}


def owns(project: dict, pane: dict) -> bool:
    """Whether a pane is of this start of the project. Its id alone is not enough: a session may have outlived its
    database, and a new one counts from 1 again."""
    if pane["@tmo_project"] != str(project["id"]):
        return False
    return pane["@tmo_start"] == project["run"] if pane["@tmo_start"] else pane["session_name"] == project["session_name"]


def target(pane: dict) -> str:
    """How a person would name the pane."""
    name = f"{pane['session_name']}:{pane['window_index']}"
    return name if pane["window_panes"] == 1 else f"{name}.{pane['pane_index']}"


def roles(project: dict) -> list[str]:
    return project["roles"].split(",")
