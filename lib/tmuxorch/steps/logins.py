"""Login checks, each asked once a directory and kept for a while.

A step, shared by tmo-authcheck, tmo-start and tmo-recover.
"""

from __future__ import annotations

from .. import agents, auth, tmux
from ..agents import login
from ..config import Config
from ..errors import Error, Later
from ..store import Store, now


class Logins:
    """Without a database every answer is asked for, and none is kept."""

    def __init__(
        self, config: Config, db: Store | None, fresh: bool = False, probe: bool = False, timeout: float = login.TIMEOUT_S
    ) -> None:
        self.config, self.db, self.fresh, self.probe, self.timeout = config, db, fresh, probe, timeout
        self.probes: dict[str, dict | None] = {}
        self.mute: dict[str, dict] = {}  # the facts of agents that did not answer in this run: they are not asked again
        self.server_environment: dict[str, str] | None = None

    def check(self, agent: str, directory: str) -> dict:
        """The `auth` of an agent in a directory. Trust is read each time; the agent itself is asked when the last
        answer is older than `auth_max_age_s`."""
        since = now() - self.config["auth_max_age_s"]
        kept = self.db.auth_check(agent, directory, since) if self.db and not self.fresh else None
        profile = agents.profile(self.config, agent)
        environ = self.environment(profile)
        home = agents.home(profile, environ)
        if kept and kept["credential"] == login.fingerprint(profile, home):
            facts = {**kept, "config": login.read_config(login.config_path(profile, environ, home))}
        else:
            asked = agent not in self.mute
            found = login.facts(profile, directory, environ, home, self.timeout) if asked else self.mute[agent]
            if found["mute"]:
                self.mute[agent] = found
            facts = {**found, "checked_at": now()}
            if self.db and asked:  # what was not asked here is asked in the next run: it may be the other directory's fault
                self.db.save_auth_check(agent, directory, {**facts, "config": None})
        trusted = login.trusted(profile, facts["config"], directory)
        judged = auth.judge(profile, facts, trusted, environ, facts["checked_at"])
        if not self.probe or not judged["installed"]:
            return judged
        if agent not in self.probes:  # one call an agent: its login is the same in every directory
            known = "probe" in profile["login"]
            self.probes[agent] = login.probe(profile, directory, environ, self.config["probe_timeout_s"]) if known else None
        return auth.probed(profile, judged, self.probes[agent])

    def environment(self, profile: dict) -> dict:
        """What an agent in a new pane would see: from cron, a key that the tmux server has would look missing."""
        if self.server_environment is None:
            try:
                self.server_environment = tmux.Tmux(self.config.socket, self.config["tmux_timeout_s"]).environment()
            except (tmux.NoServer, tmux.Gone, Later):
                self.server_environment = {}
        names = [*profile["login"]["environment"], *self.provider_key(profile)]
        seen = {name: self.server_environment[name] for name in names if name in self.server_environment}
        return agents.surroundings(profile, {**self.config.environ, **seen})

    def provider_key(self, profile: dict) -> list[str]:
        """The variable that a model provider of the agent's config takes its key from."""
        environ = agents.surroundings(profile, self.config.environ)
        home = agents.home(profile, environ)
        key = auth.provider(login.read_config(login.config_path(profile, environ, home)))
        return [key] if key else []

    def add(self, row: dict) -> dict:
        """A row with its `auth`: null where there is no agent, null and an error where it cannot be judged."""
        agent, directory = row.get("agent"), row.get("directory") or row.get("project_path")
        if not agent:
            return {**row, "auth": None}
        if not isinstance(agent, str) or not isinstance(directory, str):
            return {**row, "auth": None, "error": "a row needs an agent and a directory"}
        try:
            return {**row, "auth": self.check(agent, directory)}
        except Error as error:
            return {**row, "auth": None, "error": str(error)}
