"""Environment, config file and their defaults: every key has one, so no file is needed."""

import os

from .errors import Error

HERE = os.path.dirname(os.path.realpath(__file__))

# A key's default also fixes its type. Keys ending in `_s` are seconds.
DEFAULTS: dict[str, object] = {
    "agent": "claude",
    "roles": ["developer"],
    "max_running": 4,
    "max_verifying": 1,  # verify commands at once: those of two projects may want the same port or database
    "max_retries": 1,
    "max_rework": 3,
    "trust": "given",  # or "required": the person trusts each directory by hand
    "observe": False,
    "enabled": 100,  # per cent of the projects that tmuxorch may act on
    "confirm_s": 20.0,  # a second look this much later confirms a state
    "look_max_age_s": 300.0,  # an older look neither confirms a state nor counts into how long one lasts
    "stuck_s": 1800.0,  # idle or unmoved for so long: stuck
    "starting_s": 60.0,  # a launched agent may take so long to show its composer
    "active_s": 1800.0,  # the last activity is younger: work is going on
    "auth_max_age_s": 300.0,
    "setup_timeout_s": 300.0,
    "verify_timeout_s": 1800.0,
    "send_timeout_s": 10.0,
    "tmux_timeout_s": 5.0,
    "message_max_age_s": 86400.0,
    "message_max_attempts": 10,
    "message_retry_s": 30.0,
    "pane_messages_per_minute": 12,
    "recover_wait_s": 50.0,
    "backoff_min_s": 30.0,
    "backoff_max_s": 600.0,
    "crash_loop_restarts": 5,
    "crash_loop_s": 900.0,
    "nudges": 3,
    "limit_margin_s": 60.0,
    "probe_timeout_s": 60.0,
    "probe_min_s": 60.0,
    "probe_max_s": 900.0,
    "notify_command": "",  # a line for /bin/sh; empty: nobody is told
    "notify_on": ["needs_human", "failed", "login", "waiting"],
    "notify_after_s": 30.0,  # what is over before that is not told
    "notify_again_s": 3600.0,  # the same is not told again before that
    "notify_per_hour": 20,
    "notify_timeout_s": 30.0,
    "grace": {
        "small": 14400.0,
        "medium": 21600.0,
        "large": 28800.0,
        "xlarge": 43200.0,
        "auth": 3600.0,
        "activity": 1800.0,
    },
    # What to do with a dialog that nobody answers: report, or accept (the item that lets the agent go on).
    "dialog": {
        "trust": "accept",
        "permission": "report",
        "bypass": "accept",
        "limit": "accept",
        "onboarding": "report",
        "other": "report",
    },
    # [agents.NAME]: command (list), args (list), env (table), skip_permissions (true or false)
    "agents": {},
}


class Config(dict):
    """The settings by key, and the paths that the environment gives."""

    def __init__(self, values: dict, environ: dict) -> None:
        super().__init__(values)
        home = environ.get("HOME") or "/"
        state = environ.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state")
        self.db = os.path.abspath(environ.get("TMO_DB") or os.path.join(state, "tmuxorch", "task_queue.db"))
        self.state_dir = os.path.dirname(self.db)
        self.file = config_file(environ)
        self.dir = os.path.dirname(self.file)
        socket = environ.get("TMO_SOCKET") or ""
        self.socket = os.path.abspath(socket) if "/" in socket else socket
        self.environ = environ

    def server(self) -> str:
        """The tmux socket that is meant here: inside a tmux that one's; empty for the default one."""
        around = self.environ.get("TMUX", "").split(",")[0]
        return self.socket or ("" if os.path.basename(around) == "default" else around)

    def lock(self, name: str) -> str:
        """The path of a lock file of this database; its folder is made."""
        folder = os.path.join(self.state_dir, "locks")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return os.path.join(folder, f"{name}.lock")

    def agent(self, name: str) -> dict:
        """The user's [agents.NAME] table, empty when there is none."""
        return self["agents"].get(name, {})

    def briefing(self, kind: str, role: str) -> tuple[str, str, str]:
        """The templates of a kind: the whole, the role's own part, and where the whole came from.

        The user's briefings/KIND.md and briefings/KIND/ROLE.md beside the config file go before the packaged ones.
        """
        folders = (os.path.join(self.dir, "briefings"), os.path.join(HERE, "briefings"))
        whole, source = first_file(folders, f"{kind}.md")
        part, _ = first_file(folders, f"{kind}/{role}.md", f"{kind}/default.md")
        return whole, part.strip(), source

    def person(self) -> str:
        """Who typed the command: the agent whose pane this is, else the user."""
        project, role = self.environ.get("TMO_PROJECT"), self.environ.get("TMO_ROLE")
        return (
            f"{project}/{role}"
            if project and role
            else f"user/{self.environ.get('USER') or self.environ.get('LOGNAME') or os.getuid()}"
        )


def first_file(folders: tuple[str, ...], *names: str) -> tuple[str, str]:
    """The text of the first of these files that is there, and its path."""
    for name in names:
        for folder in folders:
            path = os.path.join(folder, name)
            if os.path.exists(path):
                try:
                    with open(path, encoding="utf-8", errors="replace") as file:
                        return file.read(), path
                except OSError as error:
                    raise Error(f"cannot read briefing '{path}': {error.strerror}") from None
    raise Error(f"cannot find briefing '{names[-1]}'")


def config_file(environ: dict) -> str:
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "/", ".config")
    return os.path.abspath(environ.get("TMO_CONFIG") or os.path.join(base, "tmuxorch", "config.toml"))


def load(environ: dict | None = None) -> Config:
    """Read the environment and the config file. Raises Error for a file that is not what it should be."""
    environ = dict(os.environ if environ is None else environ)
    values = dict(DEFAULTS)
    path = config_file(environ)
    if os.path.exists(path) or environ.get("TMO_CONFIG"):
        merge(values, read_toml(path, "config"), path)
    return Config(values, environ)


def read_toml(path: str, what: str) -> dict:
    """The values of a TOML file. Raises Error for one that cannot be read."""
    import tomllib  # 5 ms that a command without a config file does not pay

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise Error(f"cannot read {what} '{path}': {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Error(f"cannot read {what} '{path}': {error}") from None


CHOICES = {"trust": ("given", "required"), "dialog": ("report", "accept")}
LISTS = {"notify_on": ("needs_human", "failed", "login", "limit", "waiting", "completed")}


def merge(values: dict, given: dict, path: str, prefix: str = "") -> None:
    """Lay the given keys over the defaults; an unknown key or another type is an Error."""
    for key, value in given.items():
        name = prefix + key
        if key not in values:
            raise Error(f"config '{path}': unknown key '{name}'")
        default = values[key]
        if isinstance(default, dict) and isinstance(value, dict):
            if key == "agents":
                check_agents(value, path)
                values[key] = value
            else:
                values[key] = dict(default)
                merge(values[key], value, path, name + ".")
        elif isinstance(default, float) and type(value) in (int, float) and 0 <= value < float("inf"):
            values[key] = float(value)
        elif isinstance(default, float):
            raise Error(f"config '{path}': '{name}' should be a number, not below 0")
        elif type(value) is not type(default):
            raise Error(f"config '{path}': '{name}' should be {NAMES[type(default)]}")
        elif not all(word in LISTS.get(name, value) for word in (value if isinstance(value, list) else ())):
            raise Error(f"config '{path}': '{name}' should hold only {', '.join(LISTS[name])}")
        elif value not in CHOICES.get(name.split(".")[0], (value,)):
            raise Error(f"config '{path}': '{name}' should be one of {', '.join(CHOICES[name.split('.')[0]])}")
        else:
            values[key] = value


def check_agents(tables: dict, path: str) -> None:
    """An Error for a word that [agents.NAME] does not know, or of another type: "no" must not come to mean yes."""
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise Error(f"config '{path}': 'agents.{name}' should be a table")
        for key, value in table.items():
            if key not in AGENT:
                raise Error(f"config '{path}': unknown key 'agents.{name}.{key}'")
            if not fits(value, AGENT[key]):
                raise Error(f"config '{path}': 'agents.{name}.{key}' should be {NAMES[AGENT[key]]}")
            if key == "command" and not value:
                raise Error(f"config '{path}': 'agents.{name}.command' should not be empty")


def fits(value, shape) -> bool:
    """Whether a value from a TOML file has a shape: a type, alone or of what is inside; true is no whole number."""
    whole: type | None = getattr(shape, "__origin__", None)
    parts: tuple = getattr(shape, "__args__", ())
    if whole is None:
        return isinstance(value, shape) and not (shape is int and isinstance(value, bool))
    if whole is tuple:  # an array of just these
        return isinstance(value, list) and len(value) == len(parts) and all(map(fits, value, parts))
    inside = value.values() if isinstance(value, dict) else value
    return isinstance(value, whole) and all(fits(one, parts[-1]) for one in inside)


AGENT: dict = {"command": list[str], "args": list[str], "env": dict[str, str], "skip_permissions": bool}
# The shapes that a value may be asked to have, for people.
NAMES: dict = {
    str: "a string", int: "a whole number", bool: "true or false", list: "a list", dict: "a table",
    str | bool: "a string, or true or false", list[str]: "a list of strings", list[int]: "a list of whole numbers",
    dict[str, str]: "a table of strings", dict[str, int]: "a table of whole numbers",
    dict[str, list[str]]: "a table of lists of strings", list[tuple[str, str, object]]: "a list of [file, key, value]",
}  # fmt: skip
