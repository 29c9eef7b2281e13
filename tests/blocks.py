"""Run a document's `sh` blocks as one reader would: all in one shell, in order, as they stand.

usage: blocks.py FILE

Each has to end with status 0, and a `text` block right behind it shows what it printed. What differs from run to run
is made alike on both sides: spans of time, the user, the width of columns, the numbers of events.
"""

import difflib
import os
import re
import subprocess
import sys
import tempfile

ALIKE = [  # (what differs, what it is made)
    (r"\b\d+(\.\d+)?(s|m\d\ds|h\d\dm|d\d\dh)\b", "T"),
    (r"\buser/\w+", "user/you"),
    (r" +", " "),
    (r"^\d+ T ago", "N T ago"),  # an event
]
LONGEST = 240  # seconds for one document


def blocks(path):
    """(line, text, shown) of each `sh` block; shown is (line, text) of the `text` block right behind it, or None."""
    with open(path, encoding="utf-8") as file:
        whole = file.read()
    fences = list(re.finditer(r"^(`{3,})(\w+)\n(.*?)^\1$", whole, re.S | re.M))
    for fence, behind in zip(fences, [*fences[1:], None], strict=True):
        near = behind and behind[2] == "text" and not whole[fence.end() : behind.start()].strip()
        if fence[2] == "sh":
            yield line_of(fence), fence[3], (line_of(behind), behind[3]) if near else None


def line_of(match):
    return match.string[: match.start()].count("\n") + 1


def run(parts, folder):
    """What each `sh` block printed, and its status; a block that was not reached has none."""
    script = ""  # sourced, each leaves its variables and functions to the next
    for number, (_, text, _) in enumerate(parts):
        name = os.path.join(folder, str(number))
        with open(f"{name}.sh", "w", encoding="utf-8") as file:
            file.write(text)
        script += f". {name}.sh >{name}.out 2>&1 </dev/null\necho $? >{name}.status\n"
    try:
        subprocess.run(["bash", "-c", script], timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        print(f"took more than {LONGEST} s")
    for number in range(len(parts)):
        yield tuple(read(os.path.join(folder, f"{number}.{kind}")) for kind in ("out", "status"))


def read(path):
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def alike(text):
    for what, to in ALIKE:
        text = re.sub(what, to, text, flags=re.M)
    return [line.rstrip() for line in text.rstrip().splitlines()]


def main(path):
    parts = list(blocks(path))
    bad = not parts
    with tempfile.TemporaryDirectory() as folder:
        for (line, _, shown), (out, status) in zip(parts, run(parts, folder), strict=True):
            print(f"{path}:{line}: status {(status or 'none').strip()}\n{out or ''}")
            bad = bad or status is None or int(status) != 0
            if shown and alike(shown[1]) != alike(out or ""):
                print(f"{path}:{shown[0]}: not as written")
                print("\n".join(difflib.unified_diff(alike(shown[1]), alike(out or ""), "written", "printed", lineterm="")))
                bad = True
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
