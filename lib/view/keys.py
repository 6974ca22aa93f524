"""The keys of the view: what each does, how the help says it, which ones the last line names."""

from __future__ import annotations

from textual.binding import Binding, BindingType

BINDINGS: list[BindingType] = [
    Binding("q", "detach", "detach"),
    Binding("ctrl+c,ctrl+q", "detach", "detach", priority=True, show=False),
    Binding("s", "act('start')", "start"),
    Binding("x", "act('stop')", "stop"),
    Binding("r", "act('restart')", "restart"),
    Binding("R", "act('rolling')", "restart one by one"),
    Binding("plus,equals_sign", "scale(1)", "more"),
    Binding("minus", "scale(-1)", "fewer"),
    Binding("b", "blockers", "who waits"),
    Binding("enter", "zoom", "log alone"),
    Binding("slash", "ask('search')", "search", priority=True),
    Binding("f", "ask('filter')", "filter", priority=True),
    Binding("n", "hit(False)", "next"),
    Binding("N", "hit(True)", "previous"),
    Binding("w", "wrap", "wrap"),
    Binding("p,space", "pause", "pause"),
    Binding("pageup", "log('page_up')", "up", show=False),
    Binding("pagedown", "log('page_down')", "down", show=False),
    Binding("escape", "clear", "clear", show=False),
    Binding("tab", "switch", "switch", show=False, priority=True),
    Binding("question_mark,f1", "help", "help"),
    Binding("Q", "stop_all", "stop all"),
]
"""Of the whole view; the table and the log have their own arrows."""

KEYS = (
    ("up down", "select a service or a process (also: the mouse)"),
    ("s  x  r", "start, stop, restart what is selected"),
    ("R", "restart it one process at a time, without a gap"),
    ("+  -", "one process more, one fewer"),
    ("b", "who waits for whom, and why; again: the log"),
    ("Enter", "the log alone on the screen; again: the table too"),
    ("/", "search the log; n and N: next and previous"),
    ("f", "show only lines that contain a text"),
    ("w", "fold long lines, or not (then: left, right)"),
    ("p", "pause the log, and go on"),
    ("PgUp PgDn", "scroll the log; End: follow it again"),
    ("Tab", "between the table and the log"),
    ("Esc", "end a search, a filter"),
    ("q  Ctrl-C", "detach: everything runs on"),
    ("Q", "stop the whole instance, after a question"),
)
"""What the help says; docs/attach.md has the same."""

HINTS = (
    ("q", "detach", "detach"), ("s", "start", "act('start')"), ("x", "stop", "act('stop')"),
    ("r", "restart", "act('restart')"),
    ("/", "search", "ask('search')"), ("?", "keys", "help"), ("b", "who waits", "blockers"),
    ("+-", "scale", "scale(1)"), ("f", "filter", "ask('filter')"), ("w", "wrap", "wrap"),
    ("p", "pause", "pause"), ("Q", "stop all", "stop_all"),
)  # fmt: skip
"""Key, word and action of the last line, the most needed first: a narrow terminal shows only these."""
