"""What an agent is told when it starts and when it was brought back: templates with {placeholders}."""

from __future__ import annotations

import re
import time

from .errors import Error

KINDS = ("start", "recovery")
HAPPENED = {
    "shell": "Your program had ended and left a bare shell.",
    "dead": "Your program had ended.",
    "missing": "Your window was gone.",
    "hung": "Nothing had moved for a long time, so your program was started anew.",
    "login": "The login had been lost; it is back.",
    "limited": "The usage limit had been reached; it is over.",
}
QUOTE = 2000  # characters
QUOTED = {"'": "\\'", "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def fill(template: str, values: dict, source: str) -> str:
    """Put the values in. Raises Error for a placeholder that there is no value for; values are not looked into."""

    def value(match: re.Match) -> str:
        if match[1] not in values:
            raise Error(f"briefing '{source}': unknown placeholder '{{{match[1]}}}'")
        return str(values[match[1]])

    return re.sub(r"\{([a-z_]+)\}", value, template)


def values(project: dict, role: str, facts: dict) -> dict:
    """The placeholders of a briefing. facts: commits (list of lines), open (number), state (what it was brought back
    from, or None), forgotten (texts that it took up just before its end and will not remember), now."""
    others = [other for other in project["roles"].split(",") if other != role]
    verify, forgotten = project["verify_command"], facts.get("forgotten", [])
    return {
        "role": role,
        "project_id": project["id"],
        "name": one_line(project["name"]),
        "directory": path(project["project_path"] or ""),
        "spec_path": path(project["spec_path"] or ""),
        "team": ", ".join(others) if others else "you alone",
        "verify": f"What you deliver is checked with: {one_line(verify)}." if verify else "No check command was given.",
        "what_happened": HAPPENED.get(facts.get("state") or "", "You had stopped."),
        "time": time.strftime("%Y-%m-%d %H:%M", time.localtime(facts["now"])),
        "commits": "\n".join(f"  {one_line(line)}" for line in facts["commits"]) or "  none yet",
        "open_messages": facts["open"] or "none",
        "forgotten": "".join(
            f"\n- You were told this just before, and may not remember it:\n{quoted(t)}" for t in forgotten
        ),
    }


def path(name: str) -> str:
    """A path as it is, one with odd characters as a shell would be given it: $'...'."""
    if re.fullmatch(r"[\w/.,:;@%+=~# -]+", name):
        return name
    return "$'" + "".join(QUOTED.get(char, char) for char in name) + "'"


def quoted(text: str) -> str:
    """A text of somebody else's, indented, its end left out where it is long."""
    text = text.strip()
    shown = text if len(text) <= QUOTE else text[:QUOTE].rstrip() + " […]"
    return "\n".join(f"  {line}" for line in shown.splitlines())


def one_line(text: str) -> str:
    return " ".join(text.split())
