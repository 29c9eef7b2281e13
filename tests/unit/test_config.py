"""config: every key has a default, what the environment gives, and a wrong file in one line."""

import os

import pytest
from tmuxorch import config
from tmuxorch.errors import Error


def load(tmp_path, text=None, **environ):
    if text is not None:
        (tmp_path / "config.toml").write_text(text)
        environ["TMO_CONFIG"] = str(tmp_path / "config.toml")
    return config.load({"HOME": "/home/me", **environ})


# Environment


def test_no_file_is_needed(tmp_path):
    settings = load(tmp_path)
    assert settings == config.DEFAULTS
    assert settings.db == "/home/me/.local/state/tmuxorch/task_queue.db"
    assert settings.state_dir == "/home/me/.local/state/tmuxorch"
    assert settings.file == "/home/me/.config/tmuxorch/config.toml"
    assert settings.socket == ""


@pytest.mark.parametrize(
    ("environ", "key", "value"),
    [
        ({"XDG_STATE_HOME": "/x"}, "db", "/x/tmuxorch/task_queue.db"),
        ({"XDG_STATE_HOME": ""}, "db", "/home/me/.local/state/tmuxorch/task_queue.db"),
        ({"TMO_DB": "/y/z.db", "XDG_STATE_HOME": "/x"}, "db", "/y/z.db"),
        ({"TMO_DB": "rel.db"}, "db", os.path.join(os.getcwd(), "rel.db")),
        ({"TMO_DB": ""}, "db", "/home/me/.local/state/tmuxorch/task_queue.db"),
        ({"XDG_CONFIG_HOME": "/c"}, "file", "/c/tmuxorch/config.toml"),
        ({"XDG_CONFIG_HOME": "/c"}, "dir", "/c/tmuxorch"),
        ({"TMO_SOCKET": "name"}, "socket", "name"),
        ({"TMO_SOCKET": "/run/x"}, "socket", "/run/x"),
        ({"TMO_SOCKET": "./x"}, "socket", os.path.join(os.getcwd(), "x")),
        ({"HOME": ""}, "db", "/.local/state/tmuxorch/task_queue.db"),
    ],
)
def test_what_the_environment_gives(environ, key, value, tmp_path):
    assert getattr(load(tmp_path, **environ), key) == value


@pytest.mark.parametrize(
    ("environ", "person"),
    [
        ({"USER": "ann"}, "user/ann"),
        ({"LOGNAME": "bob"}, "user/bob"),
        ({}, f"user/{os.getuid()}"),
        ({"TMO_PROJECT": "7", "TMO_ROLE": "developer", "USER": "ann"}, "7/developer"),
        ({"TMO_PROJECT": "7", "USER": "ann"}, "user/ann"),
    ],
)
def test_who_typed_the_command(environ, person, tmp_path):
    assert load(tmp_path, **environ).person() == person


# Defaults that the contract names


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("agent", "claude"), ("roles", ["developer"]), ("trust", "given"), ("observe", False), ("enabled", 100),
        ("confirm_s", 20), ("stuck_s", 1800), ("send_timeout_s", 10), ("backoff_min_s", 30),
        ("backoff_max_s", 600), ("crash_loop_restarts", 5), ("crash_loop_s", 900), ("nudges", 3), ("recover_wait_s", 50),
        ("verify_timeout_s", 1800), ("active_s", 1800),
        ("grace", {"small": 14400, "medium": 21600, "large": 28800, "xlarge": 43200, "auth": 3600, "activity": 1800}),
    ],
)  # fmt: skip
def test_defaults(key, value, defaults):
    assert defaults[key] == value


def test_no_permission_is_given_that_the_config_does_not_give(defaults, claude):
    assert claude["skip_permissions"] is False
    assert (defaults["dialog"]["permission"], defaults["dialog"]["other"]) == ("report", "report")


# The file


def test_the_file_lies_over_the_defaults(tmp_path):
    text = """
        agent = "stub"
        confirm_s = 5
        roles = ["developer", "tester"]
        [grace]
        small = 60
        [dialog]
        permission = "accept"
        [agents.claude]
        skip_permissions = true
        args = ["--model", "x"]
        [agents.mine]
        command = ["mine"]
    """
    settings = load(tmp_path, text)
    assert settings["agent"] == "stub"
    assert settings["confirm_s"] == 5.0
    assert isinstance(settings["confirm_s"], float)
    assert settings["grace"] == {**config.DEFAULTS["grace"], "small": 60.0}
    assert settings["dialog"]["permission"] == "accept"
    assert settings["dialog"]["trust"] == "accept"
    assert settings.agent("claude") == {"skip_permissions": True, "args": ["--model", "x"]}
    assert settings.agent("mine") == {"command": ["mine"]}
    assert settings.agent("nobody") == {}
    assert settings["max_running"] == config.DEFAULTS["max_running"]


def test_a_file_changes_nothing_for_the_next_one(tmp_path):
    load(tmp_path, '[grace]\nsmall = 1\n[dialog]\ntrust = "report"\n[agents.x]\nargs = []\n')
    assert config.DEFAULTS["grace"]["small"] == 14400
    assert config.DEFAULTS["dialog"]["trust"] == "accept"
    assert config.DEFAULTS["agents"] == {}


def test_an_empty_file_is_fine(tmp_path):
    assert load(tmp_path, "") == config.DEFAULTS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1", "unknown key 'colour'"),
        ("[grace]\nhuge = 1", "unknown key 'grace.huge'"),
        ("agent = 1", "'agent' should be a string"),
        ('max_running = "4"', "'max_running' should be a whole number"),
        ("max_running = 4.5", "'max_running' should be a whole number"),
        ("max_running = true", "'max_running' should be a whole number"),
        ('confirm_s = "x"', "'confirm_s' should be a number"),
        ("confirm_s = true", "'confirm_s' should be a number"),
        ("observe = 1", "'observe' should be true or false"),
        ('roles = "developer"', "'roles' should be a list"),
        ("grace = 5", "'grace' should be a table"),
        ('[grace]\nsmall = "x"', "'grace.small' should be a number"),
        ("agents = 1", "'agents' should be a table"),
        ('trust = "perhaps"', "'trust' should be one of given, required"),
        ('[dialog]\npermission = "always"', "'dialog.permission' should be one of report, accept"),
        ("stuck_s = -1", "'stuck_s' should be a number, not below 0"),
        ("= 1", "cannot read config"),
        ("a = 1\na = 2", "cannot read config"),
    ],
)
def test_a_wrong_file_is_one_clear_line(text, words, tmp_path):
    with pytest.raises(Error) as raised:
        load(tmp_path, text)
    assert words in str(raised.value)
    assert "config.toml" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.status == 2


def test_a_file_that_is_named_has_to_be_there(tmp_path):
    with pytest.raises(Error, match="cannot read config .*No such file"):
        load(tmp_path, TMO_CONFIG=str(tmp_path / "none.toml"))
    with pytest.raises(Error, match="cannot read config .*directory"):
        load(tmp_path, TMO_CONFIG=str(tmp_path))


def test_a_file_that_is_no_utf8_is_said_so(tmp_path):
    (tmp_path / "config.toml").write_bytes(b'agent = "\xff"')
    with pytest.raises(Error, match="cannot read config"):
        load(tmp_path, TMO_CONFIG=str(tmp_path / "config.toml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[agents]\nclaude = 1", "'agents.claude' should be a table"),
        ('[agents.claude]\nskip_permissions = "no"', "'agents.claude.skip_permissions' should be true or false"),
        ("[agents.claude]\nskip_permision = true", "unknown key 'agents.claude.skip_permision'"),
        ("[agents.claude]\nargs = 1", "'agents.claude.args' should be a list of strings"),
        ("[agents.claude]\nargs = [1]", "'agents.claude.args' should be a list of strings"),
        ("[agents.claude]\ncommand = []", "'agents.claude.command' should not be empty"),
        ('[agents.claude]\ncommand = "claude"', "'agents.claude.command' should be a list of strings"),
        ("[agents.claude]\nenv = []", "'agents.claude.env' should be a table of strings"),
        ("[agents.claude.env]\nIS_SANDBOX = 1", "'agents.claude.env' should be a table of strings"),
    ],
)
def test_a_wrong_table_of_an_agent_is_one_clear_line(text, words, tmp_path):
    with pytest.raises(Error) as raised:
        load(tmp_path, text)
    assert words in str(raised.value)


def test_a_briefing_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(Error, match="cannot find briefing 'nothing.md'"):
        load(tmp_path).briefing("nothing", "developer")
