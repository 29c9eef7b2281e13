"""The modal dialogs: what they ask, which item is selected at first, and what a key does to them."""

from dataclasses import dataclass, field

from .composer import Event

CANCEL = -1
CONFIRM = "Enter to confirm · Esc to cancel"


@dataclass
class Dialog:
    kind: str
    head: str  # a line "─" or "╌" stands for a rule over the whole width
    options: tuple[str, ...]
    foot: str
    waiting_for: str = ""
    numbered: bool = True
    margin: str = " "
    selected: int = 0
    keys: list[str] = field(default_factory=list)

    def press(self, event: Event) -> int | None:
        """The item that this key takes, CANCEL, or None while nothing is decided. A paste does nothing."""
        kind, text = event
        self.keys.append(text if kind == "text" else kind)
        if kind == "enter":
            return self.selected
        if kind == "esc":
            return CANCEL
        if kind in ("up", "down") or text in ("j", "k"):
            self.selected = (self.selected + (-1 if kind == "up" or text == "k" else 1)) % len(self.options)
        elif kind == "text" and self.numbered and text.isdecimal() and 0 < int(text) <= len(self.options):
            return int(text) - 1
        elif kind == "text" and not self.numbered:
            self.selected = 0  # letters search the items, and find the first
        return None

    def answer(self, pick: int) -> str:
        return "cancelled" if pick == CANCEL else self.options[pick]


def trust(name: str, cwd: str) -> Dialog:
    head = f"""─
Accessing workspace:

{cwd}

Quick safety check: Is this a project you created or one you trust? (Like your own code, a well-known open source \
project, or work from your team). If not, take a moment to review what's in this folder first.

{name}'ll be able to read, edit, and execute files here.

Security guide
"""
    return Dialog("trust", head, ("No, exit", "Yes, I trust this folder"), CONFIRM, numbered=False)


def bypass(name: str) -> Dialog:
    head = f"""─
WARNING: {name} running in Bypass Permissions mode

In Bypass Permissions mode, {name} will not ask for your approval before running potentially dangerous commands.
This mode should only be used in a sandboxed container/VM that has restricted internet access and can easily be \
restored if damaged.

By proceeding, you accept all responsibility for actions taken while running in Bypass Permissions mode.
"""
    return Dialog("bypass", head, ("No, exit", "Yes, I accept"), CONFIRM, numbered=False, margin="  ")


def permission(command: str, cwd: str) -> Dialog:
    head = f"""─
Bash command
Tip: auto mode handles these prompts for you — choose "switch to auto mode" below
╌
{command}
╌
Do you want to proceed?"""
    options = (
        "Yes",
        f"Yes, and always allow access to {cwd} from this project",
        "Yes, and switch to auto mode · auto mode handles these prompts for you",
        "No",
    )
    return Dialog("permission", head, options, "Esc to cancel · Tab to amend", "permission prompt")


def question(text: str) -> Dialog:
    foot = "Enter to select · ↑/↓ to navigate · Esc to cancel"
    return Dialog("other", f"─\n{text}\n", ("Not now", "Continue"), foot, "input needed", margin="")
