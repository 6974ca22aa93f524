"""The questions of the view and its list of keys, as screens above it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from lib.view.keys import KEYS


class Question(ModalScreen[bool]):
    """Asks, and answers yes or no; no is what Escape and q mean."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no", priority=True),
        Binding("left,right", "app.focus_next", "other", show=False),
    ]

    def __init__(self, text: str, yes: str) -> None:
        super().__init__()
        self._text = text
        self._yes = yes

    def compose(self) -> ComposeResult:
        """The text and two buttons; the harmless one has the focus."""
        with Vertical(id="box"):
            yield Static(self._text, markup=False)
            with Horizontal(id="buttons"):
                yield Button("No, go back (n)", id="no", compact=True)
                yield Button(f"{self._yes} (y)", id="yes", compact=True)

    def on_mount(self) -> None:
        """A key pressed too early does no harm."""
        self.query_one("#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The mouse, or Enter."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """A key."""
        self.dismiss(answer)


class Help(ModalScreen[None]):
    """The keys; any key that usually ends something closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "close", priority=True)
    ]

    def compose(self) -> ComposeResult:
        """A list that scrolls where the terminal is low."""
        widest = max(len(key) for key, _ in KEYS)
        with VerticalScroll(id="box"):
            yield Static("\n".join(f"{key:<{widest}}   {what}" for key, what in KEYS), markup=False)

    def on_click(self) -> None:
        """So does the mouse."""
        self.dismiss()
