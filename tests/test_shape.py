"""The shape of the tree: who imports what, what a command brings with it, and that each list of words is one list.

Every rule is a function from sources to complaints, so that the rules themselves are tried on made-up sources below.
"""

import ast
import contextlib
import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from tmuxorch import __version__, agents, config, delivery, health, project, recovery, repair, schedule, store
from tmuxorch.steps import judging, start

ROOT = Path(__file__).resolve().parent.parent
LIB = ROOT / "lib" / "tmuxorch"

# The kinds of module. A new module is written down here first.
EDGE = {"", "cli", "errors", "config", "waiting"}
DECISIONS = {
    "screen", "delivery", "auth", "health", "grace", "recovery", "completion", "project", "repair", "briefing", "reset",
    "figures", "metrics", "report", "notify", "schedule", "doctor", "table", "importing",
}  # fmt: skip
ADAPTERS = {"store", "tmux", "proc", "git", "agents", "prometheus", "page", "shell"}  # a package is one home
STEPS = {"steps"}  # facts, a decision, an act and its record, for two or more commands
STUB = {"stub"}  # the scripted agent: a program of its own

# Who may import what: the first part of a module's name decides. Steps and commands see all kinds.
MAY = {
    "": set(),
    "errors": set(),
    "config": {"errors"},
    "waiting": {"errors"},
    "cli": {"", "errors"},
    **dict.fromkeys(DECISIONS, DECISIONS | {"errors"}),
    **{name: {name, "errors", "config", "waiting"} for name in ADAPTERS},
    "steps": {"errors", "config", "waiting", "steps"} | DECISIONS | ADAPTERS,
    "stub": {"stub"},
    "bin": EDGE | DECISIONS | ADAPTERS | STEPS,
    "bin/tmo-stub-agent": {"stub"},
}
ABOUT_ROWS = {"is_agent"}  # of `cli` a step may know what a row is, and nothing of arguments, output and exit statuses
HOMES = {"sqlite3": {"store", "store.file", "store.copies"}, "psutil": {"proc"}, "libtmux": {"tmux"},
         "prometheus_client": {"prometheus"}, "jinja2": {"page"}}  # fmt: skip
SLOW = {"psutil", "libtmux", "prometheus_client", "jinja2"}  # imported where they are used: most commands never do
PURE = {  # what a decision may import: nothing that reads, writes, waits or asks the clock
    "__future__", "collections", "dataclasses", "datetime", "enum", "functools", "hashlib", "itertools", "json", "math",
    "os", "re", "string", "textwrap", "time", "typing", "unicodedata", "zlib", "zoneinfo",
}  # fmt: skip
PURE_PARTS = {  # and of these only what works on values
    "os": {"path", "fspath"},
    "os.path": {
        "basename",
        "dirname",
        "join",
        "normpath",
        "split",
        "splitext",
        "isabs",
        "commonpath",
        "commonprefix",
        "sep",
    },
    "time": {"strftime", "localtime", "gmtime", "struct_time", "mktime"},
}
CLOCKS = {"now", "today", "utcnow"}  # of datetime and date
IMPURE = {"open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__"}

# Who starts processes. The rest gets them from these.
SPAWNERS = {"git", "agents.login", "shell", "bin/tmo-crontab", "bin/tmo-complete"}  # by subprocess
# Those that end what took too long themselves, with all its children; what tmo-complete leaves behind does that itself.
POPEN = {"shell", "bin/tmo-crontab", "bin/tmo-complete"}
SPAWN_CALLS = {"posix_spawn": {"tmux"}, "posix_spawnp": {"tmux"}}  # by os
NEVER_CALLED = {"system", "popen", "fork", "forkpty", "spawnl", "spawnv", "execv", "execvp", "execl", "execlp", "execve"}

SLEEPER = ("waiting", "until")  # who sleeps: between two looks at a condition, in a loop with a deadline
LONGEST = 120  # lines of a command


# Sources


def module_name(path):
    parts = path.relative_to(LIB).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def scripts(folder):
    return sorted(path for path in (ROOT / folder).iterdir() if not path.name.startswith("."))


def is_python(path):
    return path.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n")


COMMANDS = scripts("bin")
CRON = scripts("cron")
MODULES = {module_name(path): path for path in sorted(LIB.rglob("*.py"))}
SOURCES = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
SOURCES |= {f"bin/{path.name}": path.read_text(encoding="utf-8") for path in COMMANDS if is_python(path)}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def kind(name):
    """The part of a module's name that says what it may import."""
    return name if name in MAY else "bin" if name.startswith("bin/") else name.split(".")[0]


# Imports


def imports(source, name):
    """(module, imported name or None, line, is it inside a function) of every import. Ours come as `.module`."""
    tree = ast.parse(source)
    inside = {id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
              for node in ast.walk(function)}  # fmt: skip
    for node in ast.walk(tree):
        late = id(node) in inside
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield ours(alias.name), None, node.lineno, late
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                package = name.split(".") if name in PACKAGES else name.split(".")[:-1]
                above = package[: len(package) - node.level + 1]
                base = "." + ".".join([*above, *filter(None, [node.module])])
            else:
                base = ours(node.module or "")
            for alias in node.names:
                inner = f"{base}.{alias.name}" if base != "." else f".{alias.name}"
                if base.startswith(".") and inner[1:] in MODULES:
                    yield inner, None, node.lineno, late
                else:
                    yield base, alias.name, node.lineno, late


def ours(module):
    return "." + module.removeprefix("tmuxorch").removeprefix(".") if module.split(".")[0] == "tmuxorch" else module


def import_complaints(source, name):
    """What a module imports that its kind may not."""
    for module, imported, line, late in imports(source, name):
        where = f"{name}:{line}"
        if module.startswith("."):
            target = module[1:].split(".")[0]
            if target not in MAY[kind(name)] and not (kind(name) == "steps" and target == "cli" and imported in ABOUT_ROWS):
                yield f"{where}: may not import {module[1:] or 'the package'}{f' ({imported})' if imported else ''}"
            continue
        top = module.split(".")[0]
        if top in HOMES:
            if name not in HOMES[top]:
                yield f"{where}: only {' and '.join(sorted(HOMES[top]))} imports {top}"
            elif top in SLOW and not late:
                yield f"{where}: {top} is to be imported where it is used"
        elif top not in sys.stdlib_module_names:
            yield f"{where}: {top} is neither ours, nor in the standard library, nor a dependency"
        elif top == "importlib":
            yield f"{where}: an import that cannot be seen here"
        elif top == "subprocess" and name not in SPAWNERS and kind(name) != "stub":
            yield f"{where}: does not start processes"
        elif kind(name) in DECISIONS and (top not in PURE or (top in PURE_PARTS and imported)):
            yield f"{where}: a decision does not import {module}{f' ({imported})' if imported else ''}"


def purity_complaints(source, name):
    """Where a decision reads, writes, waits or asks the clock."""
    if kind(name) not in DECISIONS:
        return
    for node in ast.walk(ast.parse(source)):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Attribute):
            base = ast.unparse(node.value)
            if base in PURE_PARTS and node.attr not in PURE_PARTS[base]:
                yield f"{where}: a decision does not use {base}.{node.attr}"
            if node.attr in CLOCKS:
                yield f"{where}: a decision is told the time"
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("localtime", "gmtime") and not node.args:
                yield f"{where}: a decision is told the time"
            if (
                called == "strftime"
                and getattr(getattr(node.func, "value", None), "id", "") == "time"
                and len(node.args) < 2
            ):
                yield f"{where}: a decision is told the time"
        elif isinstance(node, ast.Name) and node.id in IMPURE:
            yield f"{where}: a decision does not use {node.id}"


def process_complaints(source, name):
    """Shell strings, and processes without an end."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        where = f"{name}:{node.lineno}"
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        of = getattr(getattr(node.func, "value", None), "id", "")
        words = {keyword.arg for keyword in node.keywords}
        if "shell" in words or called in ("getoutput", "getstatusoutput"):
            yield f"{where}: a subprocess gets words, never a shell line"
        if called == "__import__" or (called in ("exec", "eval") and not of):
            yield f"{where}: {called} cannot be seen through"
        if of == "os" and called in NEVER_CALLED and kind(name) != "stub":
            yield f"{where}: os.{called}"
        if of == "os" and called in SPAWN_CALLS and name not in SPAWN_CALLS[called]:
            yield f"{where}: os.{called} is for {' and '.join(SPAWN_CALLS[called])}"
        if of == "subprocess" and kind(name) != "stub":
            if called in ("run", "check_output", "check_call", "call") and "timeout" not in words:
                yield f"{where}: every subprocess has a timeout"
            if called == "Popen" and name not in POPEN:
                yield f"{where}: subprocess.run ends what takes too long, Popen does not"


def sleeps(source, name):
    """(function, line, is it in a loop that polls) of every sleep."""

    def visit(node, function, loop):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function, loop = node.name, False
        elif isinstance(node, ast.While):
            loop = True
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("sleep", "pause"):
                polls = loop and len(node.args) == 1 and getattr(node.args[0], "id", "") == "wait"
                yield function, node.lineno, polls
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, loop)

    yield from visit(ast.parse(source), None, False)


def sleep_complaints(source, name):
    for function, line, polls in sleeps(source, name):
        if (name, function) != SLEEPER:
            yield f"{name}:{line}: sleeps in {function}; waiting.until is there to wait"
        elif not polls:
            yield f"{name}:{line}: sleeps otherwise than by `wait` in a loop"


RULES = [import_complaints, purity_complaints, process_complaints, sleep_complaints]


def test_every_module_is_of_one_kind():
    kinds = [EDGE, DECISIONS, ADAPTERS, STEPS, STUB]
    assert Counter(name for one in kinds for name in one).most_common(1)[0][1] == 1
    known = set().union(*kinds)
    assert {name for name in MODULES if name.split(".")[0] not in known} == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_holds_everywhere(rule):
    assert [complaint for name, source in SOURCES.items() for complaint in rule(source, name)] == []


def test_nobody_is_written_down_who_does_not_sleep_or_start_processes_any_more():
    asleep = {(name, function) for name, source in SOURCES.items() for function, _, _ in sleeps(source, name)}
    assert asleep == {SLEEPER}
    spawners = {name for name, source in SOURCES.items() for module, *_ in imports(source, name) if module == "subprocess"}
    assert spawners >= SPAWNERS


def test_no_script_sleeps():
    for path in [*CRON, *[path for path in COMMANDS if not is_python(path)]]:
        assert not re.search(r"^[^#]*\bsleep\b", path.read_text(), re.M), path.name


def test_the_stub_has_its_one_door():
    users = {name for name, source in SOURCES.items() for module, *_ in imports(source, name)
             if module.startswith(".stub") and kind(name) != "stub"}  # fmt: skip
    assert users == {"bin/tmo-stub-agent"}


# Commands


def description(path):
    """What a script does: its second line, `# NAME - what it does`."""
    found = re.fullmatch(rf"# {re.escape(path.name)} - (\S.*)", path.read_text(encoding="utf-8").split("\n")[1])
    return found and found[1]


def man_line(text):
    """(name, description) of a manual page, in mdoc or in man."""
    if found := re.search(r"^\.Sh NAME\n\.Nm (\S+)\n\.Nd (.+)$", text, re.M):
        return found[1], found[2]
    if found := re.search(r"^\.SH \"?NAME\"?\n(\S+) \\?- (.+)$", text, re.M):
        return found[1].replace("\\-", "-"), found[2].replace("\\-", "-")
    return None


def readme_rows(text):
    """{command: its row's other cells} of the README's tables."""
    rows = re.findall(r"^\| *\[?`(tmo-[a-z-]+)`(?:\]\([^)]*\))? *\|(.*)\|$", text, re.M)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def text_of(path):
    return path.read_text(encoding="utf-8") if path.exists() else ""


each_command = pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)


@each_command
def test_a_command_is_an_executable_file(path):
    assert path.is_file()
    assert not path.is_symlink()
    assert os.access(path, os.X_OK)
    assert path.read_text().split("\n")[0] in ("#!/usr/bin/env python3", "#!/bin/sh")


@each_command
def test_a_command_is_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST


@each_command
def test_a_command_says_what_it_does(path):
    said = description(path)
    assert said
    assert said == said.strip().removesuffix(".")
    assert len(said) <= 100


@each_command
def test_a_command_has_a_manual_page(path):
    assert man_line(text_of(ROOT / "man" / f"{path.name}.1")) == (path.name, description(path))


@each_command
def test_a_command_has_a_row_in_the_readme(path):
    assert description(path) in readme_rows(text_of(ROOT / "README.md")).get(path.name, [])


@each_command
def test_a_command_has_a_bats_file(path):
    head = text_of(ROOT / "tests" / "cmd" / f"{path.name}.bats").split("\n")[:3]
    assert f"# {path.name} - {description(path)}" in head


def test_what_all_commands_have_in_common_is_asked_of_all():
    lists = re.findall(r"^(?:READERS|WRITERS|OTHERS)='(.*)'$", text_of(ROOT / "tests" / "helper.bash"), re.M)
    assert Counter(" ".join(lists).split()) == Counter(path.name for path in COMMANDS)


def test_nothing_is_described_that_is_no_command():
    names = {path.name for path in COMMANDS}
    assert {path.stem for path in ROOT.glob("man/*.1")} <= names
    assert {path.stem for path in ROOT.glob("tests/cmd/*.bats")} <= names | {"all"}
    assert set(readme_rows(text_of(ROOT / "README.md"))) <= names


def test_descriptions_differ():
    assert len({description(path) for path in COMMANDS}) == len(COMMANDS)


# Cron files


def cron_complaints(text, name, commands):
    """A cron file is `#!/bin/sh`, what it does, and one line: commands of bin/ joined by `|`, `&&` and `;`."""
    lines = text.split("\n")
    if lines[0] != "#!/bin/sh":
        yield f"{name}: its first line is not #!/bin/sh"
    if not re.fullmatch(rf"# {re.escape(name)} - \S.*", "".join(lines[1:2])):
        yield f"{name}: its second line is not `# {name} - what it does`"
    if len(lines) != 4 or lines[3] or not lines[2]:
        yield f"{name}: not one line of commands"
    for line in filter(None, lines[2:]):
        for part in re.split(r" (?:\||&&) |; ", line):
            words = part.split(" ")
            if words[0] not in commands:
                yield f"{name}: '{words[0]}' is not in bin/"
            for word in words[1:]:
                if not re.fullmatch(r"--?[a-z-]*|[A-Za-z0-9_./=,:+-]+", word):
                    yield f"{name}: '{word}' is more than a plain word"


@pytest.mark.parametrize("path", CRON, ids=lambda path: path.name)
def test_a_cron_file_is_a_pipeline_of_commands_and_nothing_else(path):
    assert os.access(path, os.X_OK)
    assert list(cron_complaints(path.read_text(), path.name, {command.name for command in COMMANDS})) == []


def test_every_cron_file_has_its_line_and_every_line_its_file():
    assert {f"tmo-cron-{name}" for name in schedule.LINES} == {path.name for path in CRON}


# Words: the states in SQL and in Python are one list


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """The SQL of every table, index and trigger of a new database."""
    path = str(tmp_path_factory.mktemp("shape") / "x.db")
    with contextlib.closing(store.write(path).connection) as connection:
        return {row[0]: row[1] for row in connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")}


def listed(sql, column):
    """The words that a CHECK or an index allows for a column."""
    found = re.search(rf"\b{column} IN \(([^)]*)\)", sql)
    assert found, f"no list of {column}"
    words = re.findall(r"'([^']*)'", found[1])
    assert len(words) == len(set(words))
    return set(words)


@pytest.fixture(scope="module")
def words(schema):
    """The vocabularies, as the CHECKs have them."""
    return {
        "status": listed(schema["project_queue"], "status"),
        "size": listed(schema["project_queue"], "size"),
        "health": listed(schema["agent_health"], "state"),
        "message": listed(schema["message"], "state"),
        "notification": listed(schema["notification"], "state"),
        "cause": listed(schema["hold"], "cause"),
        "kind": listed(schema["event"], "kind"),
    }


@pytest.fixture(scope="module")
def transitions(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("shape") / "x.db")
    db = store.write(path)
    with contextlib.closing(db.connection):
        return db.transitions()


def test_statuses(words, transitions, schema):
    assert {row[key] for row in transitions for key in ("source", "dest")} == words["status"]
    assert sorted(("queued", *store.RUNNING, *store.TERMINAL)) == sorted(words["status"])
    assert set(store.LIVE) < set(store.RUNNING)
    assert project.ENDS == repair.TERMINAL == store.TERMINAL
    assert set(start.UNFINISHED) < set(store.RUNNING)
    assert listed(schema["project_queue_running"], "status") == set(store.RUNNING)
    assert listed(schema["project_status_changed"], "NEW.status") <= words["status"]


def test_sizes(words):
    assert set(project.SIZES) == words["size"]
    assert set(config.DEFAULTS["grace"]) == words["size"] | {"auth", "activity"}


def test_message_states(words, schema):
    assert words["message"] == {
        "queued", "typing", "submitted", "accepted", "held", "refused", "typed", "unknown", "expired",
    }  # fmt: skip
    assert listed(schema["message_open"], "state") == set(store.OPEN_MESSAGE) < words["message"]


def test_health_states(words):
    assert sorted((*delivery.TYPE, *delivery.HOLD, *delivery.REFUSE)) == sorted(words["health"])
    assert set(health.STUCK) | set(health.HELD) | set(judging.BUSY) | set(judging.ALIVE) <= words["health"]
    assert set(recovery.NUDGE) <= words["health"]


@pytest.mark.parametrize("name", ["claude", "stub"])
def test_the_profiles_speak_of_states_and_dialogs_that_there_are(name, words):
    profile = agents.profile(config.load({"HOME": "/nowhere"}), name)
    kinds = {"trust", "permission", "bypass", "limit", "onboarding", "other"}
    assert set(config.DEFAULTS["dialog"]) == kinds
    assert set(profile["screen"]["dialog"]) | set(profile["screen"]["answer"]) <= kinds
    assert set(profile["errors"]) | set(profile["screen"]["said"]) <= words["health"]


# The words in the code, by where they stand: compared with a key, given for a key, or passed to what records them.
OTHERS = {  # words of other things that have a `state`, `status` or `kind`
    "state": {"T", "Z", "?", "S"},  # a process
    "status": {"idle", "busy", "waiting"},  # an agent's own registry
    "kind": {"prompt", "queued", "error", "assistant", "tool_result", "dequeued", "withdrawn",
             "turn_start", "turn_end", "trust", "start", "recovery",
             "project", "table", "integrity", "space"},  # records, dialogs, briefings, findings, what a database holds
    "action": {"none", "relaunch", "submit", "nudge", "compact", "wait", "hold", "report"},
    "result": {"none", "done", "planned", "waiting", "held", "failed", "needs_human"},
    "verdict": {"working", "completing", "completed", "failed", "unknown"},
}  # fmt: skip


def constants(node):
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return [word for element in node.elts for word in constants(element)]
    if isinstance(node, ast.IfExp):
        return constants(node.body) + constants(node.orelse)
    return []


def key_of(node):
    """The key of `x["key"]` and `x.get("key")`."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.slice.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        return node.args[0].value if isinstance(node.args[0], ast.Constant) else None
    return None


PASSED = {  # function: (which argument, of which list)
    "event": (0, "kind"), "set_hold": (1, "cause"), "close": (1, "message"), "verdict": (0, "health"),
    "move": (1, "transition"),
}  # fmt: skip
KEYS = ("state", "status", "cause", "kind", "action", "result", "verdict")


def words_used(source):
    """(list, word, line) of every word that the code takes from a list."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            key = key_of(node.left)
            if key in KEYS:
                yield from ((key, word, node.lineno) for other in node.comparators for word in constants(other))
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in ("state", "status", "cause"):
                    yield from ((key.value, word, node.lineno) for word in constants(value))
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place, of = PASSED.get(called, (0, ""))
            if of and len(node.args) > place:
                yield from ((of, word, node.lineno) for word in constants(node.args[place]))
            for keyword in node.keywords:
                if keyword.arg in ("status", "state", "cause") and called not in ("result",):
                    yield from ((keyword.arg, word, node.lineno) for word in constants(keyword.value))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.search(r"\b(SELECT|UPDATE|DELETE)\b", node.value)
        ):
            for key, text in re.findall(r"\b(status|state|kind|cause) (?:=|(?:NOT )?IN) ('[^']*'|\([^)]*\))", node.value):
                yield from ((key, word, node.lineno) for word in re.findall(r"'([^']*)'", text))


def word_complaints(source, name, allowed):
    for of, word, line in words_used(source):
        if word not in allowed[of]:
            yield f"{name}:{line}: '{word}' is no {of}"


@pytest.fixture(scope="module")
def allowed(words, transitions):
    return {
        **OTHERS,
        "status": words["status"] | OTHERS["status"],
        "state": words["health"] | words["message"] | words["notification"] | OTHERS["state"],
        "kind": words["kind"] | OTHERS["kind"],
        "cause": words["cause"],
        "health": words["health"],
        "message": words["message"],
        "transition": {row["event"] for row in transitions},
    }


def ours_to_check():
    return {name: source for name, source in SOURCES.items() if kind(name) != "stub"}


def test_every_word_in_the_code_is_in_its_list(allowed):
    found = [complaint for name, source in ours_to_check().items() for complaint in word_complaints(source, name, allowed)]
    assert found == []


def test_every_state_is_one_that_the_code_can_see(words):
    """A word in SQL that no code uses is a word too many."""
    used = Counter(word for source in ours_to_check().values() for _, word, _ in words_used(source))
    literal = {
        word for source in ours_to_check().values() for node in ast.walk(ast.parse(source)) for word in constants(node)
    }
    for of in ("health", "message", "notification", "status", "cause"):
        assert words[of] <= used.keys() | literal, of


def test_every_kind_of_event_that_is_recorded_is_in_the_list(words, schema):
    recorded = {word for source in ours_to_check().values() for of, word, _ in words_used(source) if of == "kind"}
    triggers = {
        word for sql in schema.values() for word in re.findall(r"\b3\), '(\w+)'|_at, '(\w+)'", sql) for word in word if word
    }
    assert triggers == {"status", "message", "hold", "health"}
    assert triggers | (recorded - OTHERS["kind"]) <= words["kind"]


def test_moves_are_events_of_the_machine(transitions):
    events = {row["event"] for row in transitions}
    used = {word for source in ours_to_check().values() for of, word, _ in words_used(source) if of == "transition"}
    assert (
        {"auth_required", "auth_complete", "setup_complete", "work_complete", "finalize", "error", "requeue"}
        <= used
        <= events
    )


# The version


def version_complaints(texts, version):
    places = [name for name, text in texts.items() for _ in re.findall(rf"(?<![\w.]){re.escape(version)}(?![\w.])", text)]
    if places != ["lib/tmuxorch/__init__.py"]:
        yield f"{version} is written in {', '.join(places)}"


def test_the_version_is_written_once():
    """What changed in which version is history: NEWS.md may name it."""
    folders = ("bin", "cron", "dev", "lib", "sql", "man", "bench", "demo")
    found = [
        path for folder in folders for path in (ROOT / folder).rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)
    ]  # fmt: skip
    found += [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".") and path.name != "NEWS.md"]
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8", errors="replace") for path in sorted(found)}
    assert list(version_complaints(texts, __version__)) == []


# The rules themselves, on made-up sources


@pytest.mark.parametrize(
    ("name", "source"),
    [
        # decisions: each other, errors, and what is pure
        ("health", "from . import reset, screen"),
        ("health", "from .errors import Error"),
        ("health", "import re, json\nfrom datetime import datetime, UTC\nfrom collections.abc import Iterator"),
        ("project", "import os\nx = os.path.basename(path.rstrip('/'))"),
        ("briefing", "import time\nx = time.strftime('%H', time.localtime(now))"),
        ("reset", "x = datetime.fromtimestamp(now, zone)"),
        ("health", "def judge(now, facts): return now - facts['at']"),
        # adapters: errors, config, and their own home
        ("store", "import sqlite3\nfrom ..errors import Error, Later"),
        ("tmux", "import os\ndef f():\n    import libtmux\n    os.posix_spawnp('tmux', [], {})"),
        ("proc", "def f():\n    import psutil"),
        ("git", "import subprocess\nsubprocess.run(['git'], timeout=5)"),
        ("agents", "from ..config import Config\nfrom . import traces"),
        ("agents.login", "import subprocess\nfrom ..errors import Error\nfrom . import fill"),
        ("agents.traces", "from . import fill"),
        # edge
        ("cli", "from . import __version__\nfrom .errors import Error\nimport argparse, sys"),
        ("config", "from .errors import Error\ndef f():\n    import tomllib"),
        # steps: all of it, and of cli what a row is
        ("steps.look", "from .. import agents, health, store, tmux\nfrom ..cli import is_agent\nfrom .panes import Panes"),
        ("waiting", "import time\ndef until():\n    while True:\n        time.sleep(wait)"),
        ("shell", "import subprocess\nsubprocess.Popen(['/bin/sh', '-c', x])"),
        # stub and commands
        ("stub.view", "from . import dialog\nfrom .script import Script\nimport subprocess, os"),
        ("bin/tmo-ls", "import os, sys\nfrom tmuxorch import cli, config, store\nfrom tmuxorch.steps import look"),
        ("bin/tmo-stub-agent", "from tmuxorch.stub import main"),
    ],
)
def test_the_rules_let_pass_what_is_right(name, source):
    assert [complaint for rule in RULES for complaint in rule(source, name)] == []


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("health", "from . import store", "may not import store"),
        ("health", "from .tmux import Tmux", "may not import tmux"),
        ("health", "from tmuxorch import proc", "may not import proc"),
        ("health", "import tmuxorch.git", "may not import git"),
        ("health", "def f():\n    from . import agents", "may not import agents"),
        ("health", "from .agents import traces", "may not import agents.traces"),
        ("health", "from .config import Config", "may not import config"),
        ("health", "from . import cli", "may not import cli"),
        ("health", "from .steps import look", "may not import steps.look"),
        ("health", "from . import __version__", "may not import the package"),
        ("health", "import sqlite3", "only store and store.copies and store.file imports sqlite3"),
        ("health", "import subprocess", "does not start processes"),
        ("health", "import socket", "does not import socket"),
        ("health", "import pathlib", "does not import pathlib"),
        ("health", "import random", "does not import random"),
        ("health", "import urllib.request", "does not import urllib.request"),
        ("health", "import importlib", "cannot be seen"),
        ("health", "from time import time", "does not import time (time)"),
        ("health", "from os import listdir", "does not import os (listdir)"),
        ("health", "import time\nx = time.time()", "does not use time.time"),
        ("health", "import time\nx = time.monotonic", "does not use time.monotonic"),
        ("health", "import time\nx = time.localtime()", "is told the time"),
        ("health", "import time\nx = time.strftime('%H')", "is told the time"),
        ("health", "import os\nx = os.getpid()", "does not use os.getpid"),
        ("health", "import os\nx = os.environ['HOME']", "does not use os.environ"),
        ("health", "import os\nx = os.path.exists(y)", "does not use os.path.exists"),
        ("health", "import os\nx = os.path.realpath(y)", "does not use os.path.realpath"),
        ("health", "x = datetime.now()", "is told the time"),
        ("health", "x = date.today()", "is told the time"),
        ("health", "x = open('f')", "does not use open"),
        ("health", "print(1)", "does not use print"),
        ("health", "f = eval", "does not use eval"),
        ("health", "import requests", "nor a dependency"),
        ("store", "from .. import tmux", "may not import tmux"),
        ("store", "from .. import health", "may not import health"),
        ("store", "import psutil", "only proc imports psutil"),
        ("tmux", "import sqlite3", "only store and store.copies and store.file imports sqlite3"),
        ("tmux", "import libtmux", "imported where it is used"),
        ("tmux", "import subprocess", "does not start processes"),
        ("proc", "import psutil", "imported where it is used"),
        ("proc", "def f():\n    from libtmux import Server", "only tmux imports libtmux"),
        ("agents.login", "from .. import store", "may not import store"),
        ("agents.login", "from ..steps import look", "may not import steps.look"),
        ("agents", "from .. import proc", "may not import proc"),
        ("errors", "from .config import Config", "may not import config"),
        ("config", "from . import store", "may not import store"),
        ("cli", "from .config import Config", "may not import config"),
        ("cli", "from .store import Store", "may not import store"),
        ("steps.look", "from ..cli import Parser", "may not import cli (Parser)"),
        ("steps.look", "from .. import cli", "may not import cli"),
        ("steps.look", "from ..cli import is_agent, emit", "may not import cli (emit)"),
        ("steps.look", "from ..stub import main", "may not import stub"),
        ("steps.look", "import sqlite3", "only store and store.copies and store.file imports sqlite3"),
        ("steps.look", "import subprocess", "does not start processes"),
        ("stub.view", "from .. import errors", "may not import errors"),
        ("stub", "from .. import __version__", "may not import the package"),
        ("stub.view", "from tmuxorch.agents import traces", "may not import agents.traces"),
        ("bin/tmo-ls", "from tmuxorch import stub", "may not import stub"),
        ("bin/tmo-ls", "import sqlite3", "only store and store.copies and store.file imports sqlite3"),
        ("bin/tmo-ls", "import psutil", "only proc imports psutil"),
        ("bin/tmo-stub-agent", "from tmuxorch import store", "may not import store"),
        ("git", "import subprocess\nsubprocess.run(['git'])", "has a timeout"),
        ("git", "import subprocess\nsubprocess.Popen(['git'])", "Popen does not"),
        ("git", "import subprocess\nsubprocess.run('git x', shell=True, timeout=5)", "never a shell line"),
        ("store", "import os\nos.system('x')", "os.system"),
        ("store", "import os\nos.posix_spawn('x', [], {})", "os.posix_spawn is for tmux"),
        ("store", "x = __import__('psutil')", "cannot be seen through"),
        ("waiting", "import time\ndef until():\n    time.sleep(wait)", "otherwise than by"),
        ("waiting", "import time\ndef until():\n    while True:\n        time.sleep(2)", "otherwise than by"),
        ("steps.send", "import time\ndef close():\n    while True:\n        time.sleep(wait)", "sleeps in close"),
        ("store", "from time import sleep\nsleep(1)", "sleeps in None"),
        ("bin/tmo-ls", "import time\ndef main():\n    while True:\n        time.sleep(wait)", "sleeps in main"),
    ],
)
def test_the_rules_see_what_is_wrong(name, source, words):
    found = [complaint for rule in RULES for complaint in rule(source, name)]
    assert any(words in complaint for complaint in found), found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("db.event('rumour', 'x')", ("kind", "rumour")),
        ("db.set_hold(name, 'mood', actor)", ("cause", "mood")),
        ("self.close(message, 'sent')", ("message", "sent")),
        ("verdict('fine')", ("health", "fine")),
        ("db.move(1, 'finish', 'x')", ("transition", "finish")),
        ("x = row['state'] == 'fine'", ("state", "fine")),
        ("x = row['status'] in ('queued', 'done')", ("status", "done")),
        ("x = row.get('state') != 'fine'", ("state", "fine")),
        ("x = {'state': 'fine'}", ("state", "fine")),
        ("x = {'state': 'idle' if y else 'fine'}", ("state", "fine")),
        ("db.projects(status=('queued', 'done'))", ("status", "done")),
        ("db.all(\"SELECT * FROM m WHERE state IN ('queued', 'posted')\")", ("state", "posted")),
        ("db.all(\"SELECT * FROM p WHERE status = 'done'\")", ("status", "done")),
        ("x = plan['action'] == 'restart'", ("action", "restart")),
    ],
)
def test_a_word_that_is_in_no_list_is_seen(source, found, allowed):
    assert found in [(of, word) for of, word, _ in words_used(source)]
    assert list(word_complaints(source, "x", allowed)) == [f"x:1: '{found[1]}' is no {found[0]}"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("tmo-ls | tmo-health -\n", None),
        ("tmo-repair-db --check && tmo-prune -d 90\n", None),
        ("jq . | tmo-ls\n", "'jq' is not in bin/"),
        ("tmo-ls | jq .\n", "'jq' is not in bin/"),
        ("tmo-repair-db --check; tmo-prune\n", None),
        ("tmo-ls > /tmp/x\n", "'>' is more than a plain word"),
        ("tmo-send 7/developer $(date)\n", "'$(date)' is more than a plain word"),
        ("X=1 tmo-ls\n", "'X=1' is not in bin/"),
        ("tmo-ls\ntmo-prune\n", "not one line of commands"),
        ("tmo-ls", "not one line of commands"),
        ("\n", "not one line of commands"),
        ("tmo-ls || tmo-prune\n", "'||' is more than a plain word"),
        ("tmo-ls &\n", "'&' is more than a plain word"),
    ],
)
def test_the_rule_of_cron_files(body, words):
    commands = {"tmo-ls", "tmo-health", "tmo-repair-db", "tmo-prune", "tmo-send"}
    found = list(cron_complaints(f"#!/bin/sh\n# tmo-cron-x - do it\n{body}", "tmo-cron-x", commands))
    assert words in "\n".join(found) if words else found == []


def test_the_head_of_a_cron_file():
    assert list(cron_complaints("#!/bin/bash\n# tmo-cron-x - do it\ntmo-ls\n", "tmo-cron-x", {"tmo-ls"}))
    assert list(cron_complaints("#!/bin/sh\n# something else\ntmo-ls\n", "tmo-cron-x", {"tmo-ls"}))


def test_the_rule_of_the_version():
    once = {"lib/tmuxorch/__init__.py": '__version__ = "1.2.3"', "man/x.1": "of 11.2.3 and 1.2.34 and v1.2.3x"}
    assert list(version_complaints(once, "1.2.3")) == []
    assert list(version_complaints({**once, "man/y.1": ".Os tmuxorch 1.2.3"}, "1.2.3"))
    assert list(version_complaints({"man/y.1": ""}, "1.2.3"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (".Dd x\n.Sh NAME\n.Nm tmo-ls\n.Nd list the panes\n.Sh SYNOPSIS\n", ("tmo-ls", "list the panes")),
        (".TH TMO-LS 1\n.SH NAME\ntmo-ls \\- list the panes\n", ("tmo-ls", "list the panes")),
        (".TH TMO-LS 1\n.SH NAME\ntmo\\-ls \\- list the panes\n", ("tmo-ls", "list the panes")),
        ("", None),
    ],
)
def test_the_line_of_a_manual_page(text, found):
    assert man_line(text) == found


def test_the_rows_of_the_readme():
    text = "| command | does |\n|---|---|\n| `tmo-ls` | list |\n| [`tmo-send`](man/x) | send | more |\nsee `tmo-log` | x |\n"
    assert readme_rows(text) == {"tmo-ls": ["list"], "tmo-send": ["send", "more"]}
