"""The real terminal: raw mode, and frames drawn with as little output as will do."""

import contextlib
import os
import termios
import tty

from .view import Frame

BRACKETED_ON, BRACKETED_OFF = "\x1b[?2004h", "\x1b[?2004l"
ALTERNATE_ON, ALTERNATE_OFF = "\x1b[?1049h", "\x1b[?1049l"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Terminal:
    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._cooked = termios.tcgetattr(fd)
        self._setup = ""  # what has been switched on, to be done again after a suspension
        self._title = ""
        self._forget()

    def _forget(self) -> None:
        self._size, self._frame = (0, 0), Frame([], 0, 0)
        self._body: list[str] | None = None

    def size(self) -> tuple[int, int]:
        """Columns and lines, never so few that nothing can be laid out."""
        with contextlib.suppress(OSError):
            columns, lines = os.get_terminal_size(self._fd)
            return max(20, columns), max(10, lines)
        return 80, 24

    def raw(self) -> None:
        # TCSANOW: what was typed before we were ready stays to be read.
        tty.setraw(self._fd, termios.TCSANOW)
        self.write(HIDE + self._setup)

    def set_up(self, sequences: str) -> None:
        """Switches modes on; from now on they belong to the screen."""
        self._setup += sequences
        self.write(sequences)
        self._forget()

    def restore(self, forget_title: bool = True) -> None:
        """The terminal as it was found, the cursor on a line of its own."""
        leave = ALTERNATE_OFF if ALTERNATE_ON in self._setup else "\r\n" * (len(self._frame.lines) - self._frame.row)
        self.write((BRACKETED_OFF if self._setup else "") + leave + SHOW + ("\x1b]2;\x07" if forget_title else ""))
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._cooked)
        self._title = ""
        self._forget()

    def read(self) -> bytes:
        """What was typed; empty when the terminal is gone."""
        with contextlib.suppress(OSError):
            return os.read(self._fd, 65536)
        return b""

    def write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        with contextlib.suppress(OSError):  # a terminal that is gone is told by SIGHUP
            while data:
                data = data[os.write(1, data) :]

    def title(self, text: str) -> None:
        if text != self._title:
            self._title = text
            self.write(f"\x1b]2;{text}\x07")

    def draw_screen(self, frame: Frame) -> None:
        """The whole screen; only the lines that changed are written."""
        size = self.size()
        resized, self._size = size != self._size, size
        old = [] if resized else self._frame.lines
        out = "\x1b[2J" if resized else ""
        for index, line in enumerate(frame.lines):
            if index >= len(old) or old[index] != line:
                out += f"\x1b[{index + 1};1H\x1b[2K{line}\x1b[0m"
        if out or (frame.row, frame.col) != (self._frame.row, self._frame.col):
            self.write(f"{out}\x1b[{frame.row + 1};{frame.col + 1}H")
        self._frame = frame

    def draw_inline(self, body: list[str], frame: Frame) -> None:
        """Below what is there: finished lines scroll away for good, the frame is drawn over itself."""
        size, old = self.size(), self._body
        if (body, frame, size) == (old, self._frame, self._size):
            return
        if old is None:
            out, old = "\r\x1b[J", []
        elif size != self._size or body[: len(old)] != old:
            out, old = "\x1b[H\x1b[2J\x1b[3J", []  # nothing else survives a reflow
        else:
            out = "\r" + (f"\x1b[{self._frame.row}A" if self._frame.row else "") + "\x1b[J"
        out += "".join(f"{line}\x1b[0m\r\n" for line in body[len(old) :])
        out += "\r\n".join(f"{line}\x1b[0m" for line in frame.lines)
        up = len(frame.lines) - 1 - frame.row
        out += (f"\x1b[{up}A" if up else "") + "\r" + (f"\x1b[{frame.col}C" if frame.col else "")
        self.write(out)
        self._body, self._frame, self._size = list(body), frame, size
