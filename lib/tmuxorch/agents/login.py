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

TIMEOUT_S = 15.0


def facts(profile: dict, directory: str, environ: dict, home: str, timeout: float = TIMEOUT_S) -> dict:
    """What can be known locally of an agent in a directory.

    program  the path of its executable, None when it is not on PATH
    version  as printed, None when it did not say
    status   what its own login check said: {"rc", "value" (JSON) or "text"}, {"timeout": seconds}, None when not asked
    config   its config file, {} when there is none yet, None when it cannot be read
    credential  fingerprint of what would change with a new login
    """
    login = profile["login"]
    program = shutil.which(profile["command"][0], path=environ.get("PATH"))
    config = read_config(config_path(profile, environ, home))
    found: dict = {"program": program, "version": None, "status": None, "legacy": False, "config": config,
                   "credential": fingerprint(profile, home), "root": os.getuid() == 0}  # fmt: skip
    if not program:
        return found
    command = [program, *profile["command"][1:]]
    said = ask([*command, "--version"], directory, environ, timeout)
    found["version"] = version = number(said.get("text", ""))
    words = None
    if parts(version) >= login.get("status_since", []):
        words = login["status"]
    elif version and parts(version) < login.get("legacy_before", [0]):
        words, found["legacy"] = login["legacy"], True
    if words:
        found["status"] = ask([*command, *words], directory, environ, timeout)
    return found


def ask(command: list[str], directory: str, environ: dict, timeout: float) -> dict:
    """Run an agent's own short command: {"rc", "text", "value"}, or {"timeout"}, or {"error"}."""
    try:
        done = subprocess.run(
            command, cwd=directory, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return {"timeout": timeout}
    except (OSError, ValueError) as error:  # a directory that is gone, or whose name cannot be one
        return {"error": getattr(error, "strerror", None) or str(error)}
    text = done.stdout.decode("utf-8", "replace").strip()
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return {"rc": done.returncode, "text": text, "value": value}


def probe(profile: dict, directory: str, environ: dict, timeout: float = 60.0) -> bool:
    """One real call of the model: whether the login is accepted. It costs what a call costs."""
    said = ask([*profile["command"], *profile["login"]["probe"]], directory, environ, timeout)
    return said.get("rc") == 0


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
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


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


def trusted(config: dict | None, directory: str) -> bool | None:
    """Whether the directory, or one above it, is trusted; None when the config cannot be read."""
    if config is None:
        return None
    projects = config.get("projects")
    while isinstance(projects, dict):
        entry = projects.get(directory)
        if isinstance(entry, dict) and entry.get("hasTrustDialogAccepted") is True:
            return True
        if directory == os.path.dirname(directory):
            break
        directory = os.path.dirname(directory)
    return False


def give_trust(path: str, directory: str) -> bool:
    """Write the trust of a directory into an agent's config, if nobody changed the file meanwhile.

    Running agents rewrite that file: the caller looks again just before launch. False: try again.
    """
    before = stamp(path)
    config = read_config(path)
    if config is None:
        raise Error(f"cannot read '{path}' to trust '{directory}'")
    if trusted(config, directory):
        return True
    projects = config.setdefault("projects", {})
    entry = projects.setdefault(directory, {}) if isinstance(projects, dict) else None
    if not isinstance(entry, dict):
        raise Error(f"cannot change '{path}' to trust '{directory}': it is not as this version knows it")
    entry["hasTrustDialogAccepted"] = True
    target = os.path.realpath(path)  # a link to a dotfiles repository stays one
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".tmo-", dir=os.path.dirname(target))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2)  # in ASCII: half a character in a cut-off prompt stays the escape it was
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


def stamp(path: str) -> tuple | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_mode & 0o777
