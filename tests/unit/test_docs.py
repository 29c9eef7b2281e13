"""The documents say what the code does: each list that stands in both is compared."""

import glob
import os
import re
import subprocess
import sys
import tomllib

import pytest
from tmuxorch import agents, briefing, config, figures, health, metrics, project, schedule, store
from tmuxorch.store import stats
from tmuxorch.stub import script

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMANDS = sorted(os.path.basename(path) for path in glob.glob(os.path.join(ROOT, "bin", "tmo-*")))


def text(*names):
    with open(os.path.join(ROOT, *names), encoding="utf-8") as file:
        return file.read()


def what(command):
    """The second line of a command: what it does."""
    found = re.fullmatch(rf"# {command} - (.+)", text("bin", command).splitlines()[1])
    assert found, f"the second line of {command} does not say what it is"
    return found[1]


def section(page, title, level="Sh"):
    """The lines of one section of a man page."""
    found = re.search(rf'^\.{level} "?{re.escape(title)}"?\n(.*?)(?=^\.Sh |^\.{level} |\Z)', page, re.S | re.M)
    assert found, f"no section {title}"
    return found[1]


def items(part, macro):
    """The words that are items of a list (`.It Va a , b Pq seconds`), in order."""
    lines = re.findall(rf"^\.It {macro} (.+)$", part, re.M)
    return [word for line in lines for word in line.partition(" Pq ")[0].split() if word != ","]


@pytest.fixture(scope="module")
def whole():
    return text("man", "tmuxorch.7")


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    return store.write(str(tmp_path_factory.mktemp("docs") / "task_queue.db"))


# -- commands


def test_a_page_for_each_command_and_no_other():
    assert [f"{command}.1" for command in COMMANDS] == sorted(os.path.basename(p) for p in glob.glob(f"{ROOT}/man/*.1"))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_name_line_is_the_commands_second_line(command):
    assert section(text("man", f"{command}.1"), "NAME") == f".Nm {command}\n.Nd {what(command)}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_of_the_page_are_those_of_help(command):
    path = os.path.join(ROOT, "bin", command)
    words = ["/bin/sh", path] if command == "tmo-hook" else [sys.executable, path]
    shown = subprocess.run([*words, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    heads = re.findall(r"^  (-.*?)(?:  .*)?$", shown, re.M)
    of_help = {option for head in heads for option in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", head)}
    lines = re.findall(r"^\.It (Fl .+)$", text("man", f"{command}.1"), re.M)
    of_page = {f"-{name}" for line in lines for name in re.findall(r"\bFl ([\w-]+)", line)}
    assert of_help, "no option is read from --help"
    assert of_page == of_help


def test_the_crontabs_page_has_each_line_as_its_file_has_it():
    def commands(words):
        return re.findall(r"tmo-[a-z-]+(?: -[a-z-]*| \d+)*", words)

    shown = re.findall(r"^\.It Li (\w+)\n\.Ql (.+) ,$", text("man", "tmo-crontab.1"), re.M)
    files = {name: "\n".join(text("cron", f"tmo-cron-{name}").splitlines()[2:]) for name in schedule.LINES}
    assert [(name, commands(line)) for name, line in shown] == [(name, commands(file)) for name, file in files.items()]


def test_a_command_that_writes_says_that_the_database_may_be_busy():
    writers = [command for command in COMMANDS if "changes=True" in text("bin", command)]
    assert len(writers) > 10
    assert [c for c in writers if ".It 75\n" not in section(text("man", f"{c}.1"), "EXIT STATUS")] == []


def test_the_whole_page_names_each_command(whole):
    assert [line.split()[1] for line in section(whole, "SEE ALSO").splitlines() if ".Xr tmo-" in line] == COMMANDS


def test_the_readmes_table_is_bin():
    rows = re.findall(r"^\| `(tmo-[\w-]+)` \| (.*?) \|$", text("README.md"), re.M)
    assert rows == [(command, what(command)) for command in COMMANDS]


# -- settings


def flat(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_the_readmes_settings_are_the_defaults():
    blocks = re.findall(r"^```toml\n(.*?)^```", text("README.md"), re.S | re.M)
    assert len(blocks) == 1
    given = tomllib.loads(blocks[0])
    assert list(flat(given)) == list(flat(config.DEFAULTS))


def test_the_whole_page_has_each_setting_with_its_default(whole):
    found = re.findall(r"^\.It Va (\S+) No = (.*)$", section(whole, "CONFIGURATION"), re.M)
    given = {key: tomllib.loads("x = " + value.replace(r"\(dq", '"'))["x"] for key, value in found}
    assert given == dict(flat(config.DEFAULTS))


def test_the_whole_page_has_each_key_of_a_profile(whole):
    settings = config.load({"HOME": "/nowhere"})
    tables = ("process", "launch", "login", "traces", "compose", "errors", "screen")
    keys = set()
    for name in agents.names(settings):
        for key, value in agents.profile(settings, name).items():
            keys |= {f"{key}.{inner}" for inner in value} if key in tables else {key}
    assert set(items(section(whole, "AGENT PROFILES"), "Va")) == keys - {"name"}


def test_the_whole_page_has_each_placeholder_of_a_briefing(whole):
    row = {"id": 1, "name": "", "project_path": "", "spec_path": "", "roles": "a", "verify_command": ""}
    values = briefing.values(row, "a", {"commits": [], "open": 0, "now": 0})
    assert set(items(section(whole, "BRIEFINGS"), "Li")) == {f"{{{key}}}" for key in values} | {"{role_text}"}


# -- the database and its vocabularies


def test_the_whole_page_has_each_column(whole, db):
    part = section(whole, "DATABASE")
    tables = [
        row["name"] for row in db.all("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    ]
    assert sorted(re.findall(r"^\.Ss (\w+)$", part, re.M)) == sorted(tables)
    for table in tables:
        columns = [row["name"] for row in db.all(f"PRAGMA table_info({table})")]
        written = section(part, table, "Ss")
        names = items(written, "Va") or re.findall(r"^\.Va (\w+)", written, re.M)
        assert sorted(names) == sorted(columns), table


def test_the_whole_page_has_each_view_and_its_columns(whole, db):
    part = section(whole, "VIEWS")
    views = [row["name"] for row in db.all("SELECT name FROM sqlite_master WHERE type = 'view'")]
    assert sorted(re.findall(r"^\.Ss (\w+)$", part, re.M)) == sorted(views)
    for view in views:
        columns = [row["name"] for row in db.all(f"PRAGMA table_info({view})")]
        assert sorted(items(section(part, view, "Ss"), "Va")) == sorted(columns), view


def test_tmo_kpi_names_each_figure_and_its_target():
    lines = re.findall(r"^\.It Li (.+)$", section(text("man", "tmo-kpi.1"), "FIGURES"), re.M)
    named = [word for line in lines for word in re.split(r" No |, | , ", line.partition(" No ")[0])]
    assert set(named) == {row["name"] for row in figures.figures(stats.NO_NIGHT["units"], None, 0)}
    targets = dict(re.findall(r"(\w+) No \((.*)\)", "\n".join(lines)))
    assert {name: f"{bound} {target:g}" for name, (bound, target) in figures.TARGETS.items()} == {
        name: words.removeprefix("p95 ") for name, words in targets.items()
    }


def test_tmo_metrics_names_each_metric_with_its_type():
    rows = re.findall(r"^\.It Li (\w+) Pq (\w+)", section(text("man", "tmo-metrics.1"), "METRICS"), re.M)
    assert rows == [(name, kind) for name, (kind, *_) in metrics.METRICS.items()]


def vocabulary(db, table, column):
    """The words that a column's CHECK allows."""
    sql = db.one("SELECT sql FROM sqlite_master WHERE name = ?", (table,))["sql"]
    return set(re.findall(r"'(\w+)'", re.search(rf"CHECK \({column} IN \((.*?)\)", sql, re.S)[1]))


def test_the_whole_page_has_each_state(whole, db):
    projects = section(whole, "PROJECTS")
    assert set(items(section(projects, "Statuses", "Ss"), "Li")) == vocabulary(db, "project_queue", "status")
    assert set(items(section(whole, "MESSAGES"), "Li")) == vocabulary(db, "message", "state")
    assert set(items(section(whole, "HEALTH"), "Li")) == vocabulary(db, "agent_health", "state")
    assert set(items(section(section(whole, "DATABASE"), "event", "Ss"), "Li")) == vocabulary(db, "event", "kind")


def test_the_whole_page_has_the_state_machine(whole, db):
    part = section(section(whole, "PROJECTS"), "Events", "Ss")
    written = re.findall(r"^\.It Li (\w+)\nto\n\.Li (\w+)\nfrom (.*)$", part, re.M)
    moves = {(event, source, dest) for event, dest, sources in written for source in sources.split(", ")}
    assert moves == {(row["event"], row["source"], row["dest"]) for row in db.transitions()}


def test_the_whole_page_has_each_role(whole):
    named = re.findall(r"\w+", section(section(whole, "PROJECTS"), "Roles", "Ss"))
    assert set(project.WINDOWS) | set(project.ALIASES) <= set(named)


def test_the_stubs_page_has_each_step_of_a_script():
    named = re.findall(r"^\.It Cm ([\w-]+)", section(text("man", "tmo-stub-agent.1"), "SCRIPT"), re.M)
    assert named == [*script.VERBS, "maybe"]


def test_tmo_health_names_each_state_and_dialog(db):
    words = set(re.findall(r"\w+", section(text("man", "tmo-health.1"), "ROWS")))
    assert vocabulary(db, "agent_health", "state") | set(config.DEFAULTS["dialog"]) | set(health.HELD) <= words
