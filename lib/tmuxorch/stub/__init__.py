"""A scripted stand-in for an interactive coding agent: it looks, listens and fails as the real ones do."""

import argparse
import json
import os
import sys
import time
import traceback
import uuid
from typing import Any

from . import script
from .disk import Home, Session, latest, read_json
from .program import Program
from .view import MODES, NAME, VERSION

HELP_STEPS = "steps of a script: " + ", ".join([*script.VERBS, "maybe"])


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["auth"]:
        return auth(argv[1:])
    options = parser().parse_args(argv)
    try:
        home = open_home()
        session, settings = prepare(options, home)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    try:
        return Program(options, home, session, settings).run()
    except Exception:  # noqa: BLE001
        # A traceback in the pane would be one more screen that no real agent shows.
        with open(home.file("stub-errors.log"), "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%FT%T')} pid {os.getpid()}\n{traceback.format_exc()}\n")
        return 70


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tmo-stub-agent", description=__doc__, epilog=HELP_STEPS, allow_abbrev=False)
    add = parser.add_argument
    add("--session-id", metavar="UUID")
    add("--resume", metavar="UUID")
    add("--continue", dest="latest", action="store_true", help="go on with this directory's latest conversation")
    add("--settings", default="{}", metavar="JSON_OR_FILE")
    add("--permission-mode", choices=[*MODES, "default"], default="auto")
    add("--dangerously-skip-permissions", action="store_true")
    add("--script", metavar="FILE", help="what the model does, one step a line; else a prompt brings it")
    add("--seed", type=int, default=0, help="decides what `maybe` does")
    add("--journal", metavar="FILE", default=os.environ.get("TMO_STUB_JOURNAL"), help="append what really happened")
    add("--start-s", type=float, default=0.3, metavar="SECONDS", help="how long the start takes")
    add("--tui", choices=["classic", "fullscreen"], default="fullscreen")
    add("--version", action="version", version=f"tmo-stub-agent {VERSION}")
    add("prompt", nargs="?", metavar="PROMPT")
    return parser


def prepare(options: argparse.Namespace, home: Home) -> tuple[Session, dict[str, Any]]:
    """What the arguments ask for; ValueError where the program would refuse to start."""
    if options.dangerously_skip_permissions:
        options.permission_mode = "bypassPermissions"
    options.permission_mode = options.permission_mode.replace("default", "manual")
    if options.permission_mode == "bypassPermissions" and os.geteuid() == 0 and os.environ.get("IS_SANDBOX") != "1":
        raise ValueError("--dangerously-skip-permissions cannot be used with root/sudo privileges for security reasons")
    if not (os.isatty(0) and os.isatty(1)):
        raise ValueError("tmo-stub-agent: needs a terminal")
    options.steps = read_script(options.script) if options.script else []
    return open_session(options, home), read_settings(options.settings)


def open_session(options: argparse.Namespace, home: Home) -> Session:
    cwd = os.getcwd()
    if options.latest:
        options.resume = latest(home, cwd)
        if not options.resume:
            raise ValueError("No conversation found to continue")
    session = Session(home, cwd, check_uuid(options.resume or options.session_id or str(uuid.uuid4())))
    if options.resume and not session.exists():
        raise ValueError(f"No conversation found with session ID: {session.id}")
    if not options.resume and session.exists():
        raise ValueError(f"Error: Session ID {session.id} is already in use.")
    return session


def check_uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("Error: Invalid session ID. Must be a valid UUID.") from None


def read_script(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return script.parse(file.read())
    except OSError as error:
        raise ValueError(f"tmo-stub-agent: cannot read '{path}': {error.strerror}") from None


def read_settings(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else read_json(text)
    except ValueError:
        raise ValueError("Error: Invalid JSON provided to --settings") from None
    return dict(value)


def open_home() -> Home:
    return Home(os.environ.get("TMO_STUB_HOME") or os.path.expanduser("~/.tmo-stub"))


def auth(argv: list[str]) -> int:
    """`auth status|login|logout`: local, as the real one: it says yes to a login that the server rejects."""
    parser = argparse.ArgumentParser("tmo-stub-agent auth")
    parser.add_argument("verb", choices=["status", "login", "logout"])
    parser.add_argument("--json", action="store_true", help="the default")
    verb, home = parser.parse_args(argv).verb, open_home()
    if verb == "login":
        home.login()
        print("Login successful.")
    elif verb == "logout":
        home.logout()
        print(f"Successfully logged out from your {NAME} account.")
    else:
        credentials = home.credentials()
        known = bool(credentials.get("token"))
        row = {
            "loggedIn": known,
            "authMethod": "oauth_token" if known else "none",
            "loginExpiresAt": credentials.get("expiresAt"),
        }
        print(json.dumps(row, indent=2))
        return 0 if known else 1
    return 0
