"""What runs when, as crontab lines and as unit files."""

import pytest
from tmuxorch import schedule


@pytest.mark.parametrize(
    ("when", "calendar"),
    [("* * * * *", "*-*-* *:*:00"), ("17 4 * * *", "*-*-* 04:17:00"), ("0 12 1 6 *", "*-06-01 12:00:00")],
)
def test_calendar(when, calendar):
    assert schedule.calendar(when) == calendar


@pytest.mark.parametrize("when", ["*/5 * * * *", "0 4 * * 1", "* * * *", "@daily"])
def test_a_time_that_no_line_has_is_no_calendar(when):
    with pytest.raises(ValueError):
        schedule.calendar(when)


def test_every_line_has_a_calendar_and_both_units():
    names = [f"tmuxorch-{name}.{kind}" for name in schedule.LINES for kind in ("timer", "service")]
    assert list(schedule.units("/bin/true", {})) == names


def test_words_of_a_unit_file():
    text = schedule.units("/a $b/%c", {"PATH": '/x%y:"\\'})["tmuxorch-start.service"]
    assert 'ExecStart=/usr/bin/env "/a $$b/%%c" --run start\n' in text
    assert 'Environment="PATH=/x%%y:\\"\\\\"\n' in text
