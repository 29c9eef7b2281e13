"""Run one of our commands and kill it (kill -9) as it comes to a line: dies.py WHERE COMMAND ARG...

WHERE is FILE:LINE below lib/tmuxorch, or `-`: then it is not killed, and each line is printed to stderr as the command
comes to it first. This switch is here, in the tests: the product knows nothing of it.
"""

import os
import runpy
import signal
import sys

LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "lib", "tmuxorch")
FILES = ("steps/send.py", "steps/outbox.py", "steps/notify.py", "shell.py", "tmux.py", "store/__init__.py", "store/file.py",
         "waiting.py")  # fmt: skip


def main():
    where, command, *words = sys.argv[1:]
    names = {os.path.join(LIB, name): name for name in FILES}
    seen = set()

    def lines(frame, event, _):
        if event == "line":
            line = f"{names[frame.f_code.co_filename]}:{frame.f_lineno}"
            if line == where:
                os.kill(os.getpid(), signal.SIGKILL)
            if where == "-" and line not in seen:
                seen.add(line)
                print(line, file=sys.stderr)
        return lines

    def calls(frame, *_):
        return lines if frame.f_code.co_filename in names and frame.f_code.co_name != "<module>" else None

    sys.argv = [command, *words]
    sys.settrace(calls)
    runpy.run_path(command, run_name="__main__")


if __name__ == "__main__":
    main()
