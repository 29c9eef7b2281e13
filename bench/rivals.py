"""Other tools for the same work, from PyPI into a virtual environment of their own, run as their manuals say, each against
an agent that does nothing: CAO has one of its own kind for that, which echoes."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import venv

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
HOME = os.path.join(ROOT, ".cache", "rivals")
PACKAGES = ("cli-agent-orchestrator==2.5.4", "claude-code-tools==1.30.2")
ECHO = """#!/bin/sh
printf '❯ '
while IFS= read -r line; do printf '> MOCK: %s\\n' "$line"; printf '❯ '; done
"""
COUNTED = """#!/bin/sh
echo >>"$0.calls"
exec {tmux} "$@"
"""


class Rivals:
    """A HOME and a tmux server for them. Every start of a tmux client is counted."""

    def __enter__(self):
        if not os.path.exists(f"{HOME}/bin/cao"):
            venv.create(HOME, with_pip=True)
            pip = [f"{HOME}/bin/pip", "install", "-q", "--disable-pip-version-check", *PACKAGES]
            subprocess.run(pip, check=True, capture_output=True)
        self.folder = tempfile.mkdtemp(prefix="tmo-rival-")
        self.env = {
            "PATH": f"{self.folder}/bin:{HOME}/bin:/usr/bin:/bin", "HOME": self.folder, "TMUX_TMPDIR": self.folder,
            "LANG": "C.UTF-8", "TERM": "xterm-256color", "SHELL": "/bin/bash", "NO_PROXY": "127.0.0.1,localhost",
        }  # fmt: skip
        os.mkdir(f"{self.folder}/bin")
        write(f"{self.folder}/bin/mock_cli", ECHO)
        count_clients(f"{self.folder}/bin")
        for name in (".bash_profile", ".bashrc"):  # CAO starts login shells
            write(f"{self.folder}/{name}", f"export PATH={self.env['PATH']}\n")
        return self

    def __exit__(self, *_):
        self.run("tmux", "kill-server", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words, check=True):
        return subprocess.run(words, env=self.env, capture_output=True, cwd=self.folder, check=check, timeout=120)

    @contextlib.contextmanager
    def cao(self, sessions):
        """Its server with so many sessions of one agent each, bench1 and so on; yields what calls its command."""
        self.run("cao", "init")
        server = subprocess.Popen(["cao-server"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 60
            while self.run("cao", "session", "list", check=False).returncode:
                assert time.monotonic() < end, "cao-server did not come up"
            self.run("cao", "install", "developer", "--provider", "mock_cli")
            for number in range(1, sessions + 1):
                self.run("cao", "launch", "--agents", "developer", "--provider", "mock_cli", "--headless", "--async",
                         "--auto-approve", "--session-name", f"bench{number}", "--working-directory", self.folder,
                         "hello")  # fmt: skip
            yield lambda *words: self.run("cao", *words)
        finally:
            server.terminate()
            server.wait(30)

    def echo(self):
        """A pane that echoes; its id."""
        self.run("tmux", "new-session", "-d", "-s", "echo", f"{self.folder}/bin/mock_cli")
        return self.run("tmux", "display-message", "-p", "-t", "=echo:", "#{pane_id}").stdout.decode().strip()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)


def count_clients(folder):
    """Put a tmux that counts its starts into a folder of PATH."""
    write(f"{folder}/tmux", COUNTED.format(tmux=shutil.which("tmux", path="/usr/local/bin:/usr/bin:/bin")))


def clients(folder):
    """How many were counted so far."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(f"{folder}/tmux.calls").st_size
    return 0
