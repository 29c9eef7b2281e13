#!/usr/bin/env bats
# Each way to install: all files are there, a batch runs from there by the printed crontab lines, and it leaves nothing.

load ../helper

# One clean tree, built once, for all of them. What they need is fetched once, and from then on there is no network.
setup_file() {
    T=$(cd "$BATS_FILE_TMPDIR" && pwd -P)
    export T TMPDIR=$T UV_CACHE_DIR=$T/uv PIP_DISABLE_PIP_VERSION_CHECK=1
    sed -n 's/^\(requires\|dependencies\) = \[\(.*\)\]/\2/p' "$ROOT/pyproject.toml" | tr -d ' "' | tr , '\n' >"$T/needed"
    "$ROOT/.venv/bin/pip" download -q -d "$T/wheels" -r "$T/needed"
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=$T/wheels UV_OFFLINE=1 UV_NO_INDEX=1 UV_FIND_LINKS=$T/wheels
    mkdir "$T/tree"
    tar -c -C "$ROOT" --exclude .git --exclude .venv --exclude __pycache__ --exclude '.*_cache' --exclude .cache --exclude build \
        --exclude dist --exclude '*.egg-info' . | tar -x -C "$T/tree"
    ln -s "$ROOT/.venv" "$T/tree/.venv"
    SYSTEM=$(dirname "$(command -v tmux)"):$(dirname "$(command -v git)"):/usr/bin:/bin
    export SYSTEM
    "$ROOT/.venv/bin/python" -m build --installer uv -o "$T/dist" "$T/tree" >"$T/build.log" 2>&1 || { cat "$T/build.log"; false; }
}

# Only what a new user has: no variable of ours, the default files, the private tmux server by tmux's own variable.
setup() {
    make_world
    unset TMO_DB TMO_SOCKET TMO_CONFIG TMO_STUB_HOME TMO_STUB_JOURNAL
    mkdir -p "$HOME/.config/tmuxorch"
    mv "$W/config.toml" "$HOME/.config/tmuxorch"
    export XDG_DATA_HOME=$HOME/.local/share XDG_BIN_HOME=$HOME/.local/bin
}

# clean COMMAND...: from another directory, with nothing in the environment but what a login has.
clean() {
    (cd / && exec env -i "HOME=$HOME" "TMUX_TMPDIR=$W" LANG=C.UTF-8 TERM=xterm "PATH=$SYSTEM" "$@")
}

# works BIN: all commands are there, and a project goes from the queue to completed by this installation.
works() {
    local bin=$1 name
    for name in "$T"/tree/bin/tmo-*; do [ -x "$bin/${name##*/}" ] || fail "${name##*/} is not there"; done
    project shop 'run command -v python3 >../python.txt' 'run command -v tmo-done >../done.txt' 'commit work.txt' 'done the shop is open'
    want 0 clean "$bin/tmo-enqueue" -p "$W/shop" -v 'test -e work.txt' "$W/shop.md"
    want 0 clean "$bin/tmo-crontab"
    cp "$W/out" "$W/crontab"
    for name in start deliver watch complete nightly; do
        grep -Eq "^\S+ \S+ \S+ \S+ \S+ /\S+/tmo-crontab --run $name\$" "$W/crontab" || fail "no line for $name with an absolute path"
    done
    eventually $LONG completed_from_cron "$bin"
    [ ! -s "$W/cron.err" ] || fail "something was said: $(cat "$W/cron.err")"
    want 0 clean env "PATH=$bin:$SYSTEM" sh -c 'tmo-ls | tmo-authcheck - | tmo-health -'
    out 'map([.role, .auth.ok, .health.state]) == [["developer", true, "idle"]]'
    ! grep -F "$W" "$W/python.txt" || fail 'the agent got our python'
    grep -q /tmo-done "$W/done.txt" || fail 'the agent has no tmo-done'
}

completed_from_cron() {
    local name
    for name in start deliver watch complete; do as_cron $name 2>>"$W/cron.err"; done
    [ "$(clean "$1/tmo-project" 1 | jq -r .status)" = completed ]
}

# has_manual BIN: man(1) finds the pages by itself, those of this installation.
has_manual() {
    local page
    for page in tmo-send tmuxorch; do
        want 0 clean env "PATH=$1:$SYSTEM" man -w $page
        grep -qF "$W" "$W/out" || fail "man finds another page: $(cat "$W/out")"
    done
}

# left FOLDER: what in it is still of ours.
left() {
    find "$1" \( -name 'tmo-*' -o -name '*tmuxorch*' \) ! -path "$HOME/.config/*" ! -path "$HOME/.local/state/tmuxorch*" \
        ! -name .tmuxorch.lock # pipx's own
}

@test 'the wheel and the sdist hold every file of the tree' {
    python3 - "$T" <<'END'
import pathlib, sys, tarfile, zipfile
top = pathlib.Path(sys.argv[1])
(wheel,), (sdist,) = top.glob("dist/*.whl"), top.glob("dist/*.tar.gz")
tree = {str(path.relative_to(top / "tree")) for path in (top / "tree").rglob("*")
        if path.is_file() and not {"build", ".venv"} & set(path.parts) and ".egg-info" not in str(path)}
installed = {name for name in tree if name.split("/")[0] in ("bin", "cron", "docs", "lib", "man", "share", "sql")}
inside = zipfile.ZipFile(wheel).namelist()
moved = [("lib/", ""), ("sql/", "tmuxorch/sql/"), ("man/", "/"), ("share/", "/share/tmuxorch/"), ("bin/", "/scripts/"), ("cron/", "/scripts/"),
         ("docs/", "/share/doc/tmuxorch/docs/")]
for name in sorted(installed):
    old, new = next(pair for pair in moved if name.startswith(pair[0]))
    assert any(path.endswith(name.replace(old, new, 1)) for path in inside), f"{name} is not in the wheel"
unpacked = {path.partition("/")[2] for path in tarfile.open(sdist).getnames()}
assert tree - unpacked <= {".gitignore", "MANIFEST.in"}, f"not in the sdist: {sorted(tree - unpacked)}"
assert len(installed) > 100
END
    ! grep 'WARNING\|deprecat' "$T/build.log" || fail 'the build warns'
}

@test 'the wheel, by pip in a virtual environment' {
    python3 -m venv --without-pip "$W/venv"
    "$ROOT/.venv/bin/pip" --python "$W/venv" install -q --no-compile "$T"/dist/*.whl
    works "$W/venv/bin"
    has_manual "$W/venv/bin"
    "$ROOT/.venv/bin/pip" --python "$W/venv" uninstall -q -y tmuxorch
    [ -z "$(left "$W/venv")" ] || fail "left: $(left "$W/venv")"
}

@test 'pipx' {
    mkdir -p "$T/tree/build/lib/tmuxorch"
    touch "$T/tree/build/lib/tmuxorch/old.py" # of an earlier version
    (cd "$T/tree" && pipx install .) >"$W/log" 2>&1
    works "$HOME/.local/bin"
    has_manual "$HOME/.local/bin"
    [ -z "$(find "$HOME" -name old.py)" ] || fail 'what an earlier build left was installed'
    pipx uninstall tmuxorch >"$W/log" 2>&1
    [ -z "$(left "$HOME")" ] || fail "left: $(left "$HOME")"
}

@test 'uv' {
    (cd "$T/tree" && uv tool install -q .)
    works "$HOME/.local/bin"
    want 0 man -M "$(uv tool dir)/tmuxorch/share/man" -w tmo-send tmuxorch # uv does not link manuals
    uv tool uninstall -q tmuxorch
    [ -z "$(left "$HOME")" ] || fail "left: $(left "$HOME")"
}

@test 'make install with PREFIX, over an older version' {
    prefix=$W/opt
    mkdir -p "$prefix/lib/tmuxorch/bin" "$prefix/lib/tmuxorch/lib/tmuxorch" "$prefix/lib/tmuxorch/man" "$prefix/bin" "$prefix/share/man/man1"
    echo mine >"$prefix/bin/other"
    touch "$prefix/lib/tmuxorch/bin/tmo-old" "$prefix/lib/tmuxorch/lib/tmuxorch/old.py" "$prefix/lib/tmuxorch/man/tmo-old.1"
    touch "$prefix/share/man/man1/tmo-old.1"
    ln -s ../lib/tmuxorch/bin/tmo-old "$prefix/bin"
    (umask 077 && make -s -C "$T/tree" install PREFIX="$prefix")
    [ -z "$(find "$prefix" -name 'tmo-old*' -o -name old.py -o -name '*.new')" ] || fail 'the older version is still there'
    [ -z "$(find "$prefix/lib/tmuxorch" "$prefix/share/man/man1/tmo-send.1" "$prefix/share/doc" ! -perm -o=r)" ] || fail 'not readable by all'
    works "$prefix/bin"
    has_manual "$prefix/bin"
    make -s -C "$T/tree" uninstall PREFIX="$prefix"
    [ "$(find "$prefix" ! -type d)" = "$prefix/bin/other" ] || fail "left: $(find "$prefix" ! -type d)"
}

@test 'make install with DESTDIR: a stage that runs, and names nothing of itself' {
    stage=$W/stage
    make -s -C "$T/tree" install DESTDIR="$stage" PREFIX=/usr BINDIR=/usr/sbin
    ! grep -rlF "$stage" "$stage" || fail 'the stage is named in a file'
    [ "$(readlink "$stage/usr/sbin/tmo-send")" = ../lib/tmuxorch/bin/tmo-send ]
    want 0 clean "$stage/usr/sbin/tmo-crontab"
    grep -qF " $stage/usr/lib/tmuxorch/bin/tmo-crontab --run start" "$W/out"
    [ -e "$stage/usr/share/man/man7/tmuxorch.7" ]
    [ -e "$stage/usr/share/doc/tmuxorch/docs/runbook.md" ]
    make -s -C "$T/tree" uninstall DESTDIR="$stage" PREFIX=/usr BINDIR=/usr/sbin
    [ -z "$(find "$stage" ! -type d)" ] || fail "left: $(find "$stage" ! -type d)"
}
