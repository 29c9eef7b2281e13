"""What makes a night fail, from facts that others looked up: a row a check.

A row is check, ok (true, false, null for what cannot be told), why (what was seen) and fix (what to type or to change, null
where nothing is wrong).
"""

from __future__ import annotations

import re

AGENT_MB = 500  # an agent program and what it starts, a generous half of a GiB; Claude Code alone takes 200 to 400 MB
DISK_MB = 1024  # a night's transcripts, builds and test runs
FILES, PROCESSES = 1024, 1024  # open files and processes (threads count) that a node program and its tools may need
HISTORY = 100_000  # lines a pane: at 200 bytes a line, 20 MB for each agent
MINUTE_LATE_S, NIGHT_LATE_S = 180.0, 90_000.0  # a line that runs every minute, or every night, is overdue after so long
HUNG_S = 3900.0  # a cron line is ended after an hour
AHEAD_S = 5.0
DAEMONS = {"cron", "crond", "fcron", "cronie", "bcron-start"}
AGAIN = "take the old lines out, and type tmo-crontab where the agents are found (tmo-crontab(1), EXAMPLES)"


def row(check: str, ok: bool | None, why: str, fix: str | None = None) -> dict:
    return {"check": check, "ok": ok, "why": why, "fix": None if ok else fix}


def tmux(version: tuple[int, int] | None, oldest: tuple[int, int]) -> dict:
    """The program on PATH; `version` is None for a development build."""
    if version is None:
        return row("tmux", None, "a development build, of which the version cannot be told")
    words = ".".join(map(str, version))
    return row("tmux", version >= oldest, f"version {words}", f"install tmux {'.'.join(map(str, oldest))} or later")


def agent(name: str, title: str, auth: dict, trust: str) -> dict:
    """Whether an agent is installed and logged in, from its `auth`; the trust of directories is a check of its own."""
    missing = [word for word in auth["missing"] if word != trust]
    if missing:
        return row(f"agent/{name}", False, auth["error"] or f"lacks {', '.join(missing)}", auth["mend"])
    if auth["logged_in"] is None:
        return row(f"agent/{name}", None, auth["error"] or "its login cannot be told", f"tmo-authcheck --fresh -a {name}")
    return row(f"agent/{name}", True, f"{title} {auth['version'] or ''} is logged in by {auth['method']}")


def permissions(profile: dict, own: list[str]) -> dict:
    """Whether an agent asks before it runs something; `own` are settings of its own that say no. That is for the person
    to choose, but in the words of our settings."""
    check, skip = f"permissions/{profile['name']}", profile["launch"]["skip_permissions"]
    given = [*profile["command"], *profile["args"]]
    if profile["skip_permissions"]:
        return row(check, True, f"skip_permissions is on: it is launched with {' '.join(skip)} and asks nothing")
    if skip and all(word in given for word in skip):
        own = [f"its args hold {' '.join(skip)}", *own]
    fix = f"take it out, or say skip_permissions = true in [agents.{profile['name']}]"
    return row(check, not own, "; ".join(own) if own else "it asks, as its own settings say", fix)


def scheduled(text: str) -> dict:
    """Our lines in a crontab: their `names`, `commands`, and the variables that hold there (`environ`)."""
    environ: dict[str, str] = {}
    found: dict = {"names": [], "commands": [], "environ": {}}
    for line in text.splitlines():
        if variable := re.fullmatch(r"\s*(\w+)\s*=\s*(\"[^\"]*\"|'[^']*'|.*?)\s*", line):
            environ[variable[1]] = variable[2].strip("\"'")
        elif entry := re.fullmatch(r"\s*[^#\s](?:\S*\s+){5}(.*tmo-crontab'?) --run (\w+)\s*", line):
            found["names"].append(entry[2])
            found["commands"].append(entry[1].replace("\\%", "%").replace("'\\''", "\0").strip("'").replace("\0", "'"))
            found["environ"] = dict(environ)
    return found


def schedule(lines: dict, crontab: list[str] | None, timers: list[str], gone: list[str]) -> dict:
    """Whether all lines are run by something: the names in the crontab (None: it cannot be read) and of the timers, and
    the commands of the crontab that are not there any more."""
    if gone:
        return row("schedule", False, f"the crontab calls what is not there: {gone[0]}", AGAIN)
    both = [name for name in crontab or [] if name in timers]
    twice = sorted({name for name in crontab or [] if (crontab or []).count(name) > 1})
    if both or twice:
        where = "crontab and timers both run" if both else "the crontab runs twice"
        return row("schedule", False, f"{where} {', '.join(both or twice)}", "take one of them out")
    missing = [name for name in lines if name not in timers and name not in (crontab or [])]
    if not missing:
        return row("schedule", True, f"all {len(lines)} lines are in the {'crontab' if crontab else 'timers of systemd'}")
    if crontab is None and not timers:
        return row("schedule", None, "the crontab cannot be read, and no timers are there", "install cron, or use systemd")
    if len(missing) == len(lines):
        return row("schedule", False, "nothing runs by itself", "(crontab -l; tmo-crontab) | crontab -")
    return row("schedule", False, f"nothing runs {', '.join(missing)}", AGAIN)


def daemon(running: set[str], beats: list[dict], now: float) -> dict:
    """Whether cron runs: `running` are the names of all processes, else a line ran lately."""
    names = sorted(DAEMONS & running)
    if names:
        return row("cron", True, f"{names[0]} runs")
    if any(now - beat["started_at"] < MINUTE_LATE_S for beat in beats):
        return row("cron", True, "its lines ran within the last minutes")
    return row("cron", False, "no cron daemon runs", "start it: systemctl start cron, or service cron start")


def programs(here: dict[str, str | None], there: dict[str, str | None]) -> dict:
    """Where cron's PATH finds what this shell's finds, by program."""
    lost = [name for name, path in here.items() if path and not there[name]]
    other = [name for name, path in here.items() if path and there[name] and there[name] != path]
    if lost:
        return row("cron_path", False, f"cron's PATH lacks {', '.join(lost)}: {here[lost[0]]}", AGAIN)
    if other:
        name = other[0]
        return row("cron_path", False, f"cron finds another {name}: {there[name]}, this shell {here[name]}", AGAIN)
    return row("cron_path", True, f"cron finds {', '.join(name for name in here if there[name])}")


def environment(here: dict[str, str], there: dict[str, str]) -> dict:
    """Whether cron and this shell speak of the same database, tmux server and config file."""
    for name in here:
        if here[name] != there[name]:
            why = f"the {name} of cron is {there[name] or 'the default'}, of this shell {here[name] or 'the default'}"
            return row("cron_environment", False, why, AGAIN)
    return row("cron_environment", True, f"cron and this shell have the same {', '.join(here)}")


def last_run(name: str, when: str, beat: dict | None, now: float) -> dict:
    """When a cron line last ran on this host, from its row of `heartbeat`. A time ahead of the clock is now."""
    check, fix = f"line/{name}", f"tmo-crontab --run {name}"
    if not beat:
        return row(check, None, "has not run yet", fix)
    age = max(0.0, now - beat["started_at"])
    if beat["finished_at"] is None:
        ok = age < HUNG_S
        return row(check, ok, f"is under way since {span(age)}" if ok else f"was begun {span(age)} ago and never ended", fix)
    if beat["status"] not in (0, 1, 75):
        return row(check, False, f"ended with {beat['status']} {span(age)} ago", f"{fix}; it says why")
    late = MINUTE_LATE_S if when.startswith("*") else NIGHT_LATE_S
    return row(check, age < late, f"last ran {span(age)} ago", "see the checks schedule and cron")


def hosts(beats: list[dict], host: str, now: float) -> dict:
    """Whether another machine runs its lines on this database."""
    others = sorted({beat["host"] for beat in beats if beat["host"] != host and now - beat["started_at"] < HUNG_S})
    fix = "take the crontab lines out there: a database is for one machine"
    return row("hosts", not others, f"{', '.join(others)} works on this database too" if others else "only this one", fix)


def writers(processes: list[dict]) -> dict:
    """Whether programs that are not ours have the database open for writing."""
    strange = [one for one in processes if not any(word.rpartition("/")[2].startswith("tmo-") for word in one["argv"])]
    names = ", ".join(f"{' '.join(one['argv'])[:60] or one['name']} ({one['pid']})" for one in strange)
    return row("writers", not strange, f"{names} may write to it" if strange else "no other program writes to it", "end it")


def memory(free: int, agents: int) -> dict:
    """Whether so many agents find room in so many bytes."""
    need = agents * AGENT_MB
    why = f"{free >> 20} MiB are free, for {agents} agents of {AGENT_MB} MB"
    return row("memory", free >> 20 >= need, why, "lower max_running, or add memory or swap")


def disk(free: dict[str, int]) -> dict:
    """Whether there is room, from the free bytes at each place."""
    place = min(free, key=lambda one: free[one])
    return row("disk", free[place] >> 20 >= DISK_MB, f"{free[place] >> 20} MiB are free at {place}", "make room there")


def limits(files: int | None, processes: int | None, whose: str) -> list[dict]:
    """The limits that agents inherit, None for no limit."""
    fix = "raise it before tmux is started: ulimit -{} {}, or limits.conf(5)"
    return [
        row("open_files", files is None or files >= FILES, f"{whose} may open {shown(files)} files", fix.format("n", 4096)),
        row("processes", processes is None or processes >= PROCESSES,
            f"{whose} may have {shown(processes)} processes", fix.format("u", 8192)),
    ]  # fmt: skip


def shown(limit: int | None) -> str:
    return "any number of" if limit is None else str(limit)


def history(lines: int) -> dict:
    return row("tmux_history", lines <= HISTORY, f"history-limit is {lines} lines a pane",
               "tmux set-option -g history-limit 10000; each agent's pane takes memory for all of it")  # fmt: skip


def clock(synchronised: str, newest: float | None, now: float) -> dict:
    """From what timedatectl says (`yes`, `no`, or nothing) and the latest time in the database."""
    if newest is not None and newest > now + AHEAD_S:
        return row("clock", False, f"the database has times {span(newest - now)} ahead of the clock", "set the clock right")
    if synchronised == "no":
        return row("clock", False, "it is not synchronised", "timedatectl set-ntp true")
    if synchronised == "yes":
        return row("clock", True, "it is synchronised")
    return row("clock", None, "nothing tells whether it is synchronised", "see that a time service runs")


def logout(kill: str, linger: str) -> dict:
    """Whether systemd-logind ends the tmux server with the login session."""
    if kill == "yes" and linger != "yes":
        return row(
            "logout", False, "what you started is killed when you log out (KillUserProcesses)", "loginctl enable-linger"
        )
    return row("logout", True, "a tmux server outlives your login")


def span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
