"""The event loop: keys to the composer, the model or a dialog; the scene to the terminal; signals to both."""

import argparse
import contextlib
import os
import re
import select
import signal
import time
from dataclasses import replace
from typing import Any

from . import dialog, view
from .composer import Composer, Decoder, Event
from .disk import Home, Hooks, Journal, Session
from .model import Model
from .terminal import ALTERNATE_ON, BRACKETED_ON, Terminal
from .turns import NEVER, QUEUED_GHOST, Ending, Prompt

ESC_S = 0.05  # so long an escape waits to become a sequence
NOTICE_S = 5.0
TWICE_S = 1.0  # so soon the second C-c has to come
SPIN_S = 0.2
SIGNALS = (signal.SIGWINCH, signal.SIGCONT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD)
SUSPENDED = f"\r\n{view.NAME} is suspended. Run `fg` to bring it back.\r\nTo undo typing, press ctrl+_.\r\n"
UNTRUSTED = (
    f"{view.NAME} didn't start because this folder isn't trusted.\r\n"
    "Run tmo-stub-agent again and choose Yes, or run it in another folder.\r\n"
)


class Program:
    def __init__(self, options: argparse.Namespace, home: Home, session: Session, settings: dict[str, Any]) -> None:
        self.options, self.home = options, home
        self.hooks = Hooks(settings)
        self.journal = Journal(options.journal)
        self.model = Model(home, session, self.journal, self.hooks, options.permission_mode, options.seed)
        self.composer, self.decoder = Composer(), Decoder()
        self.terminal = Terminal()
        self.suspended = self.inline = False
        self.pressed: dict[str, float] = {}  # keys that have to come twice, and when they came last
        self.hint, self.hint_until = "", NEVER
        self.escape_at = NEVER
        self.fired: set[int] = set()
        self.wake, waker = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: self.fired.add(number))

    def run(self) -> int:
        """The whole life of the agent; its exit status."""
        self.journal.write(self.model.session, "start", resumed=bool(self.options.resume))
        self.terminal.raw()
        try:
            early = self._start_up()
            self.terminal.set_up(BRACKETED_ON)
            refused = self._ask_first()
            ending = self.model.ending or refused or self._converse(early)
        except BaseException:
            self.terminal.restore()
            raise
        return self._leave(ending)

    # Starting

    def _start_up(self) -> bytes:
        """Not ready yet: what is typed now becomes a draft, whatever Enter came with it."""
        self.inline, early, until = True, b"", time.monotonic() + self.options.start_s
        while not self.model.ending and time.monotonic() < until:
            early += self._wait(until)
            self._handle_signals()
        return early

    def _ask_first(self) -> Ending | None:
        """The dialogs before the first prompt; an Ending if one of them was not agreed to."""
        cwd = self.model.session.cwd
        if not self.home.trusted(cwd):
            pick = self._ask(dialog.trust(view.NAME, cwd))
            if pick != 1:
                return Ending(0 if pick == dialog.CANCEL else 1, words=UNTRUSTED)
            self.home.trust(cwd)
        if self.model.mode == "bypassPermissions" and not self.home.bypass_accepted():
            if self._ask(dialog.bypass(view.NAME)) != 1:
                return Ending(1)
            self.home.accept_bypass()
        return None

    def _ask(self, shown: dialog.Dialog) -> int:
        """Shows a dialog until an item is picked."""
        decoder, pick = Decoder(), None
        while pick is None:
            low = view.dialog(replace(shown, foot=self.hint or shown.foot), self.terminal.size()[0])
            self.terminal.draw_inline([], view.Frame(["", *low.lines], low.row + 1, low.col))
            data = self._wait(time.monotonic() + ESC_S if decoder.waiting else self.hint_until)
            self._handle_signals()
            self._drop_hint()
            if self.model.ending:
                return dialog.CANCEL
            for event in decoder.feed(data) if data else decoder.flush():
                if pick is None:
                    pick = 0 if event[0] == "interrupt" and self._twice("Ctrl-C") else shown.press(event)
        self.journal.write(self.model.session, "dialog", dialog=shown.kind, answer=shown.answer(pick), keys=shown.keys)
        if pick == 1:
            self.terminal.draw_inline([], view.Frame([""], 0, 0))
        return pick

    # The conversation

    def _converse(self, early: bytes) -> Ending:
        self.inline = self.options.tui == "classic"
        self.model.blocks += past(self.model.session)
        self.model.start(self.options.steps, "resume" if self.options.resume else "startup")
        self.terminal.set_up("" if self.inline else ALTERNATE_ON)
        self.composer.history = self.home.sent(self.model.session.cwd)
        self.composer.insert(early_text(early))
        if self.options.prompt and self.options.prompt.strip():
            self.model.submit(Prompt(self.options.prompt, self.options.prompt))
        while not self.model.ending:
            self._draw()
            data = self._wait(self._next_moment())
            self._handle_signals()
            now = time.monotonic()
            self._drop_hint()
            if data:
                self._feed(data, now)
            elif now >= self.escape_at:
                self._events(self.decoder.flush())
                self.escape_at = NEVER
            self.model.tick(now)
            self._take_draft()
        return self.model.ending

    def _feed(self, data: bytes, now: float) -> None:
        self._events(self.decoder.feed(data))
        self.escape_at = now + ESC_S if self.decoder.waiting else NEVER

    def _events(self, events: list[Event]) -> None:
        for event in events:
            if self.model.ending:
                return
            if self.model.dialog:
                self.model.press(event)
            else:
                self._key(*event)

    def _key(self, kind: str, text: str) -> None:
        handler = getattr(self, f"_key_{kind}", None)
        if handler:
            handler(text)
        else:
            self.composer.edit(kind)

    def _key_text(self, text: str) -> None:
        self.composer.place = None
        self.composer.insert(text)

    def _key_paste(self, text: str) -> None:
        self.composer.paste(text)

    def _key_raw(self, text: str) -> None:
        self.composer.paste(text, bracketed=False)

    def _key_newline(self, _: str) -> None:
        self.composer.insert("\n")

    def _key_enter(self, _: str) -> None:
        if self.composer.pasted and self.model.swallow_enter:
            self.model.swallow_enter = False
            self.composer.swallow_enter()
        elif gone := self.composer.drop_direction():
            many = "s" if gone > 1 else ""
            self.hint = f"Removed {gone} invisible character{many} · review and press Enter to send"
            self.hint_until = time.monotonic() + NOTICE_S
        elif not self.composer.continue_line() and self.composer.whole():
            self.model.submit(Prompt(*self.composer.take()))

    def _key_esc(self, _: str) -> None:
        if self.model.busy:
            self.model.interrupt()
        elif self.composer.text and self._twice("Esc", hint=False):
            self.composer.clear()

    def _key_interrupt(self, _: str) -> None:
        if self.model.busy:
            self.model.interrupt()
        elif self._twice("Ctrl-C"):
            self.model.ending = Ending(0, "prompt_input_exit")
        else:
            self.composer.clear()

    def _key_eof(self, _: str) -> None:
        if not self.composer.text and self._twice("Ctrl-D"):
            self.model.ending = Ending(0, "prompt_input_exit")

    def _key_suspend(self, _: str) -> None:
        self.terminal.restore(forget_title=False)
        self.terminal.write(SUSPENDED)
        self.suspended = True
        # In a pane without a shell nobody could continue us, and the kernel ignores the stop: then we only wait.
        os.kill(os.getpid(), signal.SIGTSTP)

    def _key_up(self, _: str) -> None:
        if self.model.queue and not self.composer.text:
            self.composer.set(self.model.unqueue())
        else:
            self.composer.recall(-1)

    def _key_down(self, _: str) -> None:
        self.composer.recall(1)

    def _twice(self, key: str, hint: bool = True) -> bool:
        """Some keys count only when they come a second time, soon."""
        now = time.monotonic()
        if now - self.pressed.get(key, -NEVER) <= TWICE_S:
            return True
        self.pressed[key] = now
        if hint:
            self.hint, self.hint_until = f"Press {key} again to exit", now + TWICE_S
        return False

    def _drop_hint(self) -> None:
        if time.monotonic() >= self.hint_until:
            self.hint, self.hint_until = "", NEVER

    def _take_draft(self) -> None:
        if self.model.draft:
            if not self.composer.text:
                self.composer.set(self.model.draft)
            self.model.draft = ""

    # Waiting and drawing

    def _frozen(self) -> bool:
        return time.monotonic() < self.model.frozen_until

    def _next_moment(self) -> float:
        """When something is to be done even if nothing is typed."""
        if self.suspended:
            return NEVER
        if self._frozen():
            return self.model.frozen_until
        moving = self.model.busy and not self.model.dialog
        spin = time.monotonic() + SPIN_S if moving else NEVER
        return min(self.model.due, self.escape_at, self.hint_until, spin)

    def _wait(self, until: float) -> bytes:
        """Sleeps until `until`, a signal, or a key; returns what was typed."""
        deaf = self.suspended or self._frozen()
        timeout = None if until == NEVER else max(0.0, until - time.monotonic())
        if self.fired:
            timeout = 0.0
        readable, _, _ = select.select([self.wake] if deaf else [self.wake, 0], [], [], timeout)
        if self.wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self.wake, 4096)
        if 0 not in readable:
            return b""
        data = self.terminal.read()
        if not data:
            self.fired.add(signal.SIGHUP)  # the terminal is gone
        return data

    def _handle_signals(self) -> None:
        for number in sorted(self.fired):
            self.fired.discard(number)
            if number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                self.model.ending = self.model.ending or Ending(128 + number, "other")
            elif number == signal.SIGCONT and self.suspended:
                self.suspended = False
                self.terminal.raw()

    def _draw(self) -> None:
        if self.suspended or self._frozen():
            return
        now = time.monotonic()
        glyph = "◐◑"[int(now * 2) % 2] if self.model.busy and not self.model.dialog else "✳"
        self.terminal.title(f"{glyph} {view.NAME}")
        scene, (width, height) = self._scene(now), self.terminal.size()
        if self.inline:
            self.terminal.draw_inline(view.body(scene, width), view.live(scene, width, height - 1))
        else:
            self.terminal.draw_screen(view.fullscreen(scene, width, height))

    def _scene(self, now: float) -> view.Scene:
        model, composer = self.model, self.composer
        draft, at = composer.shown()
        place = f"{composer.place + 1}/{len(composer.history)}" if composer.place is not None else ""
        return view.Scene(
            model.session.cwd, model.mode, tuple(model.blocks), model.running, model.spinner(now),
            tuple(prompt.text for prompt in model.queue), model.dialog, draft, at, composer.collapsed,
            place, QUEUED_GHOST if model.queue else model.ghost, self.hint,
        )  # fmt: skip

    # Leaving

    def _leave(self, ending: Ending) -> int:
        model = self.model
        model.stop()
        words = ending.words
        if ending.reason:
            if model.session.exists():
                words = f"\r\nResume this session with:\r\ntmo-stub-agent --resume {model.session.id}\r\n"
            model.hook("SessionEnd", reason=ending.reason)
            if model.registry:
                model.registry.remove()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one C-c too many must not change the status
        self.terminal.restore()
        self.terminal.write(words)
        self.journal.write(model.session, "exit", reason=ending.reason or "failed", status=ending.status)
        self.hooks.close()
        return ending.status


def early_text(typed: bytes) -> str:
    """What was typed before we were ready is a draft: the Enter behind it is lost."""
    text = typed.decode("utf-8", "replace").replace("\r", "\n")
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f]", "", text).rstrip("\n")


def past(session: Session) -> list[view.Block]:
    """What a resumed conversation shows of itself."""
    blocks = []
    for record in session.records()[-100:]:
        content = record.get("message", {}).get("content")
        if record["type"] == "user" and isinstance(content, str) and not content.startswith("<"):
            blocks.append(view.Block("prompt", content))
        elif record["type"] == "assistant" and content and content[0]["type"] == "text":
            kind = "api" if record.get("isApiErrorMessage") else "say"
            blocks.append(view.Block(kind, content[0]["text"]))
    return blocks
