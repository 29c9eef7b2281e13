"""Killing: the commands, the agents and tmux, at every line and at random. The world is that of the agents' tests."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "agents"))

from harness import Stub, World  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--rounds", type=int, default=20, help="rounds of ten sends each, with one kill a round")
    parser.addoption("--projects", type=int, default=40, help="how many projects of a batch under faults")
    parser.addoption("--watches", type=int, default=20, help="how often the watch pipeline is killed in the midst of it")
    parser.addoption("--repairs", type=int, default=20, help="how often tmo-repair-db --apply is killed in the midst of it")
    parser.addoption("--records", type=int, default=5000, help="projects, and as many check-ins, of an old database")
    parser.addoption("--damages", type=int, default=25, help="how many damaged database files are checked and recovered")
    parser.addoption("--walks", type=int, default=5, help="random walks of ten steps through the states")
    parser.addoption("--seed", type=int, default=1, help="the same moments again, as far as a machine is the same")


def pytest_configure(config):
    config.addinivalue_line("markers", "only(names): of the agents' tests")


@pytest.fixture
def world():
    with World(Stub, more="max_running = 10\ncrash_loop_restarts = 10000\nrecover_wait_s = 20\n[dialog]") as world:
        yield world
