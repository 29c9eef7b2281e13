#!/usr/bin/env bats
# What the documents tell to type is typed in a fresh HOME, and prints what they show.

load ../helper

# read_through FILE [HEADING]: as somebody who has installed us and nothing else, in the root of a checkout.
read_through() {
    local of=$W/$(basename "$1" .md)
    mkdir -p "$of"
    (cd "$ROOT" && exec env -i "HOME=$of" "TMPDIR=$of" SHELL=/bin/bash LANG=C.UTF-8 TERM=xterm-256color \
        "PATH=$BIN:$ROOT/.venv/bin:$PATH" python3 "$ROOT/tests/blocks.py" "$@") >"$of.found" 2>&1 || fail "$(cat "$of.found")"
}

@test 'the README and the tutorial, at the same time' {
    background read_through README.md
    local readme=$!
    read_through docs/tutorial.md
    wait $readme
}
