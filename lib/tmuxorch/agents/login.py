"""Where an agent's login and its trust of a directory stand: facts only, judged in `auth`.

No secret is read here: a credential's file is stat'ed, and the agent itself says whether it is logged in.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile

from ..errors import Error
from ..waiting import LONGEST_S

TIMEOUT_S = 15.0


def facts(profile: dict, directory: str, environ: dict, home: str, timeout: float = TIMEOUT_S) -> dict:
    """What can be known locally of an agent in a directory.

    program  the path of its executable, None when it is not on PATH
    version  as printed, None when it did not say
    status   what its own login check said: {"rc", "value" (JSON) or "text"}, {"timeout": seconds}, None when not asked
    config   its config file, {} when there is none yet, None when it cannot be read
    credential  fingerprint of what would change with a new login
    mute     it did not answer in time
    """
    login = profile["login"]
    program = shutil.which(profile["command"][0], path=environ.get("PATH"))
    config = read_config(config_path(profile, environ, home))
    found: dict = {"program": program, "version": None, "status": None, "legacy": False, "config": config,
                   "credential": fingerprint(profile, home), "root": os.getuid() == 0, "mute": False}  # fmt: skip
    if not program:
        return found
    command = [program, *profile["command"][1:]]
    said = ask([*command, "--version"], directory, environ, timeout)
    found["mute"] = "timeout" in said
    found["version"] = version = number(said.get("text", ""))
    words = None
    if parts(version) >= login.get("status_since", []):
        words = login["status"]
    elif version and "legacy" in login and parts(version) < login.get("legacy_before", [0]):
        words, found["legacy"] = login["legacy"], True
    if words:
        found["status"] = understood(login, ask([*command, *words], directory, environ, timeout))
        found["mute"] = "timeout" in found["status"]
    return found


def understood(login: dict, said: dict) -> dict:
    """What a login check said, with the `value` of one that speaks in words: as if it had been JSON."""
    words = f"{said.get('text')}\n{said.pop('err', '')}"
    for key, answer in (("logged_in", True), ("logged_out", False)):
        if key in login and (found := re.search(login[key], words, re.M)):
            return {**said, "value": {"loggedIn": answer, "authMethod": found[0] if answer else None}}
    return said


def ask(command: list[str], directory: str, environ: dict, timeout: float) -> dict:
    """Run an agent's own short command: {"rc", "text", "value"}, or {"timeout"}, or {"error"}."""
    longest = min(timeout, LONGEST_S)  # subprocess takes some weeks and no more
    try:
        done = subprocess.run(
            command, cwd=directory, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=longest, check=False
        )
    except subprocess.TimeoutExpired:
        return {"timeout": timeout}
    except (OSError, ValueError) as error:  # a directory that is gone, or whose name cannot be one
        return {"error": getattr(error, "strerror", None) or str(error)}
    text, err = (stream.decode("utf-8", "replace").strip() for stream in (done.stdout, done.stderr))
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return {"rc": done.returncode, "text": text, "err": err, "value": value}


def probe(profile: dict, directory: str, environ: dict, timeout: float = 60.0) -> dict:
    """One real call of the model, which costs what a call costs: what the agent said to it, as `ask` has it."""
    environ = {**environ, **profile["login"].get("probe_env", {})}
    return ask([*profile["command"], *profile["login"]["probe"]], directory, environ, timeout)


def number(text: str) -> str | None:
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else None


def parts(version: str | None) -> list[int]:
    return [int(part) for part in version.split(".")] if version else []


def config_path(profile: dict, environ: dict, home: str) -> str:
    """The config file: in the agent's home when the environment names one, else beside its default."""
    folder = home if environ.get(profile["home"]["env"]) else os.path.dirname(home)
    return os.path.join(home if profile["login"].get("config_in_home") else folder, profile["login"]["config"])


def read_config(path: str) -> dict | None:
    """An agent's config file, JSON or TOML; {} when there is none, None when it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            value = parse(path, file.read())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def parse(path: str, text: str) -> object:
    if not path.endswith(".toml"):
        return json.loads(text)
    import tomllib

    return tomllib.loads(text)


def fingerprint(profile: dict, home: str) -> str:
    """Changes when the credential's file does. Its content is not looked at."""
    marks = []
    for name in profile["login"]["credentials"]:
        try:
            stat = os.stat(os.path.join(home, name))
            marks.append(f"{name}:{stat.st_mtime_ns}:{stat.st_size}:{stat.st_ino}")
        except OSError:
            marks.append(f"{name}:-")
    return " ".join(marks)


def trusted(profile: dict, config: dict | None, directory: str) -> bool | None:
    """Whether the directory, or one above it that counts for it, is trusted; None when the config cannot be read."""
    if config is None:
        return None
    rule, projects = profile["login"]["trust"], config.get("projects")
    entries = [projects.get(place) for place in places(rule, directory)] if isinstance(projects, dict) else []
    return any(isinstance(entry, dict) and entry.get(rule["key"]) == rule["value"] for entry in entries)


def places(rule: dict, directory: str) -> list[str]:
    """The directories whose trust counts for this one."""
    above = [directory]
    while above[-1] != os.path.dirname(above[-1]):
        above.append(os.path.dirname(above[-1]))
    if rule.get("within") != "repository":
        return above
    return [directory, *[place for place in above if os.path.exists(os.path.join(place, ".git"))][:1]]


def give_trust(profile: dict, path: str, directory: str) -> bool:
    """Write the trust of a directory into an agent's config, if nobody changed the file meanwhile.

    Running agents rewrite that file: the caller looks again just before launch. False: try again.
    """
    before = stamp(path)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    except (OSError, ValueError):
        raise Error(f"cannot read '{path}' to trust '{directory}'") from None
    config = read_config(path)
    if config is None:
        raise Error(f"cannot read '{path}' to trust '{directory}'")
    if trusted(profile, config, directory):
        return True
    new = with_trust(profile["login"]["trust"], path, text, config, directory)
    try:
        return replaced(path, new, before)
    except OSError as error:
        raise Error(f"cannot write '{path}' to trust '{directory}': {error.strerror}") from None


def replaced(path: str, text: str, before: tuple | None) -> bool:
    """Put a text in the place of a file that is still as it was before, by a temporary file and rename."""
    target = os.path.realpath(path)  # a link to a dotfiles repository stays one
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".tmo-", dir=os.path.dirname(target))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            os.chmod(temporary, before[3])
        if stamp(path) != before:
            return False
        os.replace(temporary, target)
        temporary = ""
    finally:
        if temporary:
            os.unlink(temporary)
    return True


def with_trust(rule: dict, path: str, text: str, config: dict, directory: str) -> str:
    """The text of the config file with the trust in it. Raises Error when it says otherwise, or is not as we know it."""
    projects = config.setdefault("projects", {})
    entry = projects.get(directory, {}) if isinstance(projects, dict) else None
    if not isinstance(entry, dict):
        raise Error(f"cannot change '{path}' to trust '{directory}': it is not as this version knows it")
    if not path.endswith(".toml"):
        projects[directory] = {**entry, rule["key"]: rule["value"]}
        return json.dumps(config, indent=2)  # in ASCII: half a character in a cut-off prompt stays the escape it was
    if entry:
        raise Error(f"'{path}' has settings of its own for '{directory}': add {rule['key']} = \"{rule['value']}\" there")
    # Its comments and its order stay: a table of its own at the end.
    name = json.dumps(directory, ensure_ascii=False).replace("\x7f", "\\u007f")
    new = f'{text.rstrip()}\n\n[projects.{name}]\n{rule["key"]} = "{rule["value"]}"\n'.lstrip()
    try:
        known = parse(path, new)
    except ValueError:
        known = {}
    if not isinstance(known, dict) or known.get("projects", {}).get(directory) != {rule["key"]: rule["value"]}:
        raise Error(f"cannot change '{path}' to trust '{directory}': it is not as this version knows it")
    return new


def stamp(path: str) -> tuple | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_mode & 0o777
