"""Synthetic screens: what no loopback server can cause (the limits of a subscription, a login in the browser), in words that
people have published, put into the recorded frame of each renderer and size. None of them was seen by us."""

import glob
import os
import re
import textwrap
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from test_screens_live import SCREENS, judged
from tmuxorch import screen

FRAMES = sorted(glob.glob(f"{SCREENS}/*-live/limited.*.ansi"))
NOW = datetime(2023, 11, 14, 22, 13, 20, tzinfo=ZoneInfo("UTC"))  # that of test_screens_live
NONE = "no end is named"


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


# Where each was published: an issue of anthropics/claude-code or openai/codex, or a tool that reads the words.
LIMITS = [
    # (agent, words, the moment it ends); the first is issue 19472
    ("claude", "You've hit your limit · resets 11pm (America/Anchorage)", at("2023-11-14T23:00", "America/Anchorage")),
    ("claude", "You've hit your session limit · resets 12:50am (America/Los_Angeles)",
     at("2023-11-15T00:50", "America/Los_Angeles")),  # 74079
    ("claude", "You've hit your session limit · resets 8:30pm (Asia/Tokyo)", at("2023-11-15T20:30", "Asia/Tokyo")),  # 77082
    ("claude", "You've hit your weekly limit · resets Nov 21, 10am (America/Los_Angeles)",
     at("2023-11-21T10:00", "America/Los_Angeles")),
    ("claude", "You've hit your weekly limit · resets Sunday 12:00am", at("2023-11-19T00:00")),
    ("claude", "You've hit your Opus limit · resets Nov 16 at 1am (Asia/Tokyo)", at("2023-11-16T01:00", "Asia/Tokyo")),
    ("claude", "Weekly limit reached · resets 10am (Asia/Seoul) · /upgrade to Max or turn on /extra-usage",
     at("2023-11-15T10:00", "Asia/Seoul")),  # 12789
    ("claude", "5-hour limit reached ∙ resets 3am", at("2023-11-15T03:00")),
    ("claude", "Session limit reached ∙ resets 9:30pm", at("2023-11-15T21:30")),
    ("claude", "Claude usage limit reached. Your limit will reset at 3pm (America/New_York).",
     at("2023-11-15T15:00", "America/New_York")),
    ("claude", "Claude AI usage limit reached|1735689600", 1735689600.0),
    ("claude", "You're out of extra usage · resets 4pm (UTC)", at("2023-11-15T16:00")),
    ("claude", "You've reached your Fable limit.", NONE),
    ("claude", "Usage limit reached for 5 hour. Your limit will reset at 2023-11-15 05:35:16", at("2023-11-15T05:35:16")),
    ("claude", "Credit balance is too low", NONE),
    ("codex", "You've hit your usage limit. Upgrade to Pro (https://openai.com/chatgpt/pricing) or try again in 5 days 22 "
     "hours 11 minutes.", NOW.timestamp() + 5 * 86400 + 22 * 3600 + 11 * 60),  # 3899
    ("codex", "You've hit your usage limit. Visit https://chatgpt.com/codex/settings/usage to purchase more credits or try "
     "again at 3:28 PM.", at("2023-11-15T15:28")),
    ("codex", "You've hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit "
     "https://chatgpt.com/codex/settings/usage to purchase more credits or try again at Nov 18th, 2023 12:30 PM.",
     at("2023-11-18T12:30")),
    ("codex", "You've hit your usage limit... or try again at Aug 20, 2026, 7:38 AM", at("2026-08-20T07:38")),  # 39603
    ("codex", "You've hit your usage limit. To get more access now, send a request to your admin or try again later.", NONE),
    ("codex", "The usage limit has been reached", NONE),
]  # fmt: skip
LOGINS = [
    ("claude", "OAuth token has expired · Please run /login"),
    ("claude", "OAuth token revoked · Please run /login"),
    ("claude", "Failed to authenticate: OAuth session expired and could not be refreshed"),
    ("claude", "Not logged in · Run /login"),
    ("codex", "Your access token could not be refreshed because your refresh token was already used. Please log out and "
     "sign in again."),
]  # fmt: skip
MENUS = [  # in place of the composer: (kind, selected, lines)
    ("limit", "1. Stop and wait for limit to reset",
     " What do you want to do?\n\n ❯ 1. Stop and wait for limit to reset\n   2. Upgrade your plan\n\n"
     " Enter to confirm · Esc to cancel"),
    ("limit", "2. Switch to extra usage",
     " What do you want to do?\n\n   1. Stop and wait for limit to reset\n ❯ 2. Switch to extra usage\n\n"
     " Enter to confirm · Esc to cancel"),
    ("onboarding", "1. Claude account with subscription · Pro, Max, Team, or Enterprise",
     " Claude Code can be used with your Claude subscription or billed based on API usage.\n\n Select login method:\n\n"
     " ❯ 1. Claude account with subscription · Pro, Max, Team, or Enterprise\n\n"
     "   2. Anthropic Console account · API usage billing\n\n"
     "   3. 3rd-party platform · Amazon Bedrock, Microsoft Foundry, or Vertex AI"),
    ("onboarding", None,
     " Browser didn't open? Use the url below to sign in:\n\n https://claude.ai/oauth/authorize?code=true\n\n"
     " Paste code here if prompted >"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def frames(agent):
    return [path for path in FRAMES if f"/{agent}-" in path]


def lines(path):
    """A frame's lines, and which of them holds the words about the limit."""
    with open(path, encoding="utf-8") as file:
        rows = file.read().split("\n")
    return rows, max(number for number, row in enumerate(rows) if re.search("You.ve hit your .*limit", screen.plain(row)))


def wrapped(path, words):
    """The words as the program breaks them in a pane of this width."""
    width = int(re.search(r"(\d+)x", path)[1])
    first, later = ("  ⎿  ", "     ") if "/claude-" in path else ("■ ", "")
    return textwrap.wrap(words, width - 1, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def synthetic(path, words):
    """A recorded frame with other words in it, without what only this version adds to its own."""
    rows, place = lines(path)
    below = [row for row in rows[place + 1 :] if not re.search("(?i)continuing|usage limit reached", screen.plain(row))]
    return "\n".join(rows[:place] + wrapped(path, words) + below)


def cases(table):
    return [pytest.param(path, *case[1:], id=f"{case[0]}-{os.path.basename(path)}-{number}")
            for number, case in enumerate(table) for path in frames(case[0])]  # fmt: skip


def test_the_frames_are_of_both_programs_and_all_sizes():
    assert len(frames("claude")) == 6 and len(frames("codex")) >= 3


@pytest.mark.parametrize(("path", "words", "end"), cases(LIMITS))
def test_a_usage_limit_is_told_with_its_end(path, words, end):
    verdict = judged("claude" if "/claude-" in path else "codex", synthetic(path, words))
    assert (verdict["state"], verdict["reset_at"]) == ("limited", None if end is NONE else end)


@pytest.mark.parametrize(("path", "words"), cases(LOGINS))
def test_a_lost_login_is_told(path, words):
    assert judged("claude" if "/claude-" in path else "codex", synthetic(path, words))["state"] == "login"


@pytest.mark.parametrize("menu", MENUS, ids=[f"{kind}-{number}" for number, (kind, _, _) in enumerate(MENUS)])
@pytest.mark.parametrize("path", frames("claude"), ids=os.path.basename)
def test_a_menu_is_a_dialog_of_its_kind_with_what_enter_would_choose(path, menu):
    kind, selected, text = menu
    rows, place = lines(path)
    verdict = judged("claude", "\n".join([*rows[: place + 1], "", "─" * 60, *text.split("\n")]))
    assert (verdict["state"], verdict["dialog"], verdict["detail"]) == ("dialog", kind, selected)
