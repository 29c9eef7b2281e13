"""What runs when, and how cron and systemd are told."""

from __future__ import annotations

# Each name is a file in cron/. They are separate lines, so that none waits for another.
LINES = {
    "start": "* * * * *",
    "deliver": "* * * * *",
    "watch": "* * * * *",
    "complete": "* * * * *",
    "notify": "* * * * *",
    "nightly": "17 4 * * *",
}
HEAD = "# tmuxorch: put these lines at the end of your crontab: (crontab -l; tmo-crontab) | crontab -"


def crontab(command: str, values: dict[str, str]) -> list[str]:
    """The lines of a crontab that run `command --run NAME`, with these variables. SHELL is named, since the crontab that
    they are added to may have another."""
    variables = [f'{name}="{value}"' for name, value in {"SHELL": "/bin/sh", **values}.items()]
    return [HEAD, *variables, *[f"{when} {quoted(command)} --run {name}" for name, when in LINES.items()]]


def quoted(word: str) -> str:
    """A word for sh in a crontab, where `%` would be a line end."""
    if not any(c in word for c in " '\"$&;()<>|*?%\\"):
        return word
    return "'" + word.replace("'", "'\\''").replace("%", "\\%") + "'"


def units(command: str, values: dict[str, str]) -> dict[str, str]:
    """The text of each unit file, by its name: a timer and a service a line."""
    found = {}
    for name, when in LINES.items():
        found[f"tmuxorch-{name}.timer"] = TIMER.format(name=name, calendar=calendar(when))
        environment = "\n".join(f"Environment={unit_word(f'{key}={value}')}" for key, value in values.items())
        start = unit_word(command).replace("$", "$$")
        found[f"tmuxorch-{name}.service"] = SERVICE.format(name=name, environment=environment, start=start)
    return found


def calendar(when: str) -> str:
    """The five fields of a crontab line, each a number or `*`, as an OnCalendar."""
    minute, hour, day, month, weekday = (field if field == "*" else f"{int(field):02d}" for field in when.split())
    if weekday != "*":
        raise ValueError(when)
    return f"*-{month}-{day} {hour}:{minute}:00"


def unit_word(text: str) -> str:
    """One word of a unit file, in quotes; `%` would be a specifier."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


TIMER = """\
# tmuxorch: written by tmo-crontab --systemd
[Unit]
Description=tmuxorch {name}
Documentation=man:tmo-crontab(1)

[Timer]
OnCalendar={calendar}
AccuracySec=1s
Persistent=true

[Install]
WantedBy=timers.target
"""

# The tmux server that a start makes stays in its unit's control group: with another KillMode than `process` it would be
# killed as soon as the start is over. So all agents are counted there, and systemd would warn of every one of them at
# every start: only errors are logged, which is what cron would mail. As a word of another program our own may have a
# quote or a backslash in its path, which systemd does not take in the program's.
SERVICE = """\
# tmuxorch: written by tmo-crontab --systemd
[Unit]
Description=tmuxorch {name}
Documentation=man:tmo-crontab(1)

[Service]
Type=oneshot
{environment}
ExecStart=/usr/bin/env {start} --run {name}
SuccessExitStatus=1 75
KillMode=process
TasksMax=infinity
OOMPolicy=continue
SyslogLevel=err
LogLevelMax=err
"""
