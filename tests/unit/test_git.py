"""git on real repositories: what a work tree shows, and None for what it cannot."""

import os
import subprocess

import pytest
from tmuxorch import git

# git as a stranger to this machine's settings sees it.
STRANGER = {
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org", "LC_ALL": "C",
}  # fmt: skip


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """A repository, and git commands in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name, value in STRANGER.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "repo"
    folder.mkdir()

    class Repo:
        path = str(folder)
        files = folder

        def git(self, *words):
            done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
            return done.stdout.strip()

        def commit(self, name="a.txt", text="x", message="one"):
            (folder / name).write_text(text)
            self.git("add", "-A")
            self.git("commit", "-q", "-m", message)
            return self.git("rev-parse", "HEAD")

    made = Repo()
    made.git("init", "-q", "-b", "main")
    return made


def test_a_directory_without_a_repository_is_none(tmp_path):
    for directory in (str(tmp_path), str(tmp_path / "nowhere"), "/proc"):
        assert (git.head(directory), git.dirty(directory), git.commits(directory, None)) == (None, None, None)
        assert git.log(directory, 5) == []


def test_where_the_work_tree_begins(repo, tmp_path):
    sub = os.path.join(repo.path, os.fsdecode(b"a\xff\nb"), "two words")
    os.makedirs(sub)
    assert (git.top(sub), git.top(repo.path), git.top(str(tmp_path))) == (repo.path, repo.path, None)


def test_an_empty_repository(repo):
    assert (git.head(repo.path), git.dirty(repo.path), git.log(repo.path, 5)) == (None, 0, [])
    (repo.files / "a").write_text("x")
    assert git.dirty(repo.path) == 1


def test_commits_since_a_time(repo, monkeypatch):
    for n, at in enumerate((1700000000, 1700001000)):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"@{at} +0000")
        repo.commit(text=str(n))
    assert [git.commits_since(repo.path, at) for at in (1699999999.5, 1700000500.0, 1700002000.0)] == [2, 1, 0]
    assert git.commits_since("/proc", 0.0) is None


def test_commits_since_the_start(repo):
    first = repo.commit()
    assert git.head(repo.path) == first
    assert git.commits(repo.path, first) == 0
    repo.commit(text="y", message="two")
    repo.commit(text="z", message="three")
    assert git.commits(repo.path, first) == 2
    assert git.commits(repo.path, None) == 3  # it was empty at the start
    assert git.commits(repo.path, "0" * 40) is None  # the base is gone
    assert [line.split(" ", 1)[1].split(" (")[0] for line in git.log(repo.path, 2)] == ["three", "two"]


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ((), 0),
        (("new",), 1),
        (("a b c", "it's", "new\nline", "-dash", "日本", '"q"'), 6),
        (("M a.txt",), 1),
    ],
)
def test_dirty_counts_changed_and_untracked_files(changes, count, repo):
    repo.commit()
    for name in changes:
        (repo.files / name).write_text("x")
    assert git.dirty(repo.path) == count


def test_every_kind_of_change_counts_once(repo):
    for name in ("changed", "removed", "staged"):
        repo.commit(name)
    (repo.files / "changed").write_text("new")
    (repo.files / "removed").unlink()
    (repo.files / "staged").write_text("new")
    repo.git("add", "staged")
    assert git.dirty(repo.path) == 3


def test_a_rename_counts_the_same_whatever_the_name_was(repo):
    """git tells the old name in an entry of its own, which is no change of its own."""
    repo.commit("plain", "a long enough text\n" * 20)
    repo.git("mv", "plain", "other")
    plain = git.dirty(repo.path)
    repo.git("reset", "-q", "--hard")
    repo.commit("my file", "another long enough text\n" * 20)
    repo.git("mv", "my file", "our file")
    assert git.dirty(repo.path) == plain


def test_our_own_marker_and_ignored_files_do_not_count(repo):
    repo.commit(".gitignore", "*.log\n")
    (repo.files / ".tmuxorch").mkdir()
    (repo.files / ".tmuxorch" / "done").write_text("run")
    (repo.files / "x.log").write_text("x")
    assert git.dirty(repo.path) == 0


def test_a_subdirectory_counts_only_its_own_files(repo):
    repo.commit()
    (repo.files / "sub").mkdir()
    (repo.files / "outside").write_text("x")
    assert git.dirty(str(repo.files / "sub")) == 0
    (repo.files / "sub" / "inside").write_text("x")
    assert git.dirty(str(repo.files / "sub")) == 1


@pytest.mark.parametrize("name", ["two words", "it's", "$(touch x)", "#(touch x)", "-C", "new\nline", "日本"])
def test_a_directory_of_any_name(name, repo, tmp_path):
    first = repo.commit()
    other = tmp_path / name
    os.rename(repo.path, other)
    assert git.head(str(other)) == first
    assert git.dirty(str(other)) == 0
    assert not os.path.exists("x")


def test_looking_runs_nothing_of_the_repository(repo, tmp_path):
    repo.commit()
    mark = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    script.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "core.editor", "diff.external", "core.sshCommand"):
        repo.git("config", key, str(script))
    for hook in ("post-index-change", "pre-commit", "post-checkout", "reference-transaction", "fsmonitor-watchman"):
        path = repo.files / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(script.read_text())
        path.chmod(0o755)
    os.utime(repo.files / "a.txt", (1, 1))  # the index looks out of date
    (repo.files / "b").write_text("x")
    before = (repo.files / ".git" / "index").read_bytes()
    assert (git.dirty(repo.path), git.commits(repo.path, None), len(git.log(repo.path, 5))) == (1, 1, 1)
    assert git.head(repo.path)
    assert not mark.exists()
    assert (repo.files / ".git" / "index").read_bytes() == before


def test_a_git_that_fails_or_is_missing_or_hangs_is_none(repo, tmp_path, monkeypatch):
    repo.commit()
    fake = tmp_path / "bin"
    fake.mkdir()
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(fake))
    assert git.head(repo.path) is None
    for script in ("exit 1", "kill -9 $$", "exec sleep 600"):
        (fake / "git").write_text(f"#!/bin/sh\n{script}\n")
        (fake / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{fake}:{path}")
        monkeypatch.setattr(git, "TIMEOUT_S", 0.3)
        assert (git.head(repo.path), git.dirty(repo.path), git.commits(repo.path, None)) == (None, None, None)


def test_the_repository_is_the_directorys_whatever_the_caller_works_in(repo, tmp_path, monkeypatch):
    first = repo.commit()
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["git", "init", "-q", str(other)], check=True, timeout=60)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert git.head(repo.path) == first
    assert git.dirty(repo.path) == 0


def test_the_youngest_change_that_is_not_committed(repo, tmp_path):
    assert git.changed(str(tmp_path)) == 0  # no repository
    repo.commit()
    assert git.changed(repo.path) == 0
    (repo.files / "below").mkdir()
    for name, at in (("a.txt", 50), ("below/new.txt", 60), (".gitignore", 40), ("ignored", 70)):
        (repo.files / name).write_text("ignored")
        os.utime(repo.files / name, (at, at))
    assert git.changed(repo.path) == 60
    (repo.files / "below/new.txt").unlink()
    (repo.files / "a.txt").unlink()
    assert git.changed(repo.path) == 40
