"""The full-screen view of one instance: what it shows and what its keys do. Leaving it ends nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from typing import Any

from textual import on, work
from textual.app import App, ComposeResult
from textual.widgets import Input, Static

from lib.control import stats
from lib.errors import AmpzeroError, NotRunningError, UsageError
from lib.instance import Instance
from lib.view import actions, model
from lib.view.actions import Action
from lib.view.blockerspane import BlockersPane
from lib.view.dialogs import Help, Question
from lib.view.feed import Feed
from lib.view.keyline import SAID, KeyLine
from lib.view.keys import BINDINGS
from lib.view.link import Link
from lib.view.logpane import LogPane
from lib.view.model import Row
from lib.view.style import CSS
from lib.view.table import ProcessTable
from lib.view.titles import head, log_title

REFRESH = 1.0
"""Seconds between two looks at the status; a process that changes its state is seen at once."""
QUIET = 0.1
"""Seconds between two looks at least: a storm of events must not keep the processor busy."""
FOLLOW = 0.1
"""Seconds between two looks at the log."""
STOP = "stop"
"""What the view gives back when the instance shall be stopped: its caller does that, and says so."""
PARTS = "#head, #table, #title, #log, #blockers, #input, #keys"


class View(App[str]):
    """Shows the instance until it is left; gives back `STOP` when everything shall be stopped."""

    CSS = CSS
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = BINDINGS

    def __init__(self, instance: Instance) -> None:
        super().__init__()
        self.theme = "ansi-dark"  # nothing but the terminal's own colours, light or dark
        self._instance = instance
        self._link = Link(instance)
        self._meter = stats.Meter()
        self._status: dict[str, Any] = {}
        self._lost_at: float | None = None
        self._changed = asyncio.Event()
        self._feed = Feed(instance.logs)
        self._asking = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Static(id="head", markup=False)
        yield ProcessTable(id="table")
        yield Static(id="title", markup=False)
        yield LogPane(id="log")
        yield BlockersPane(id="blockers")
        yield Input(id="input", compact=True)
        yield KeyLine(id="keys")

    @property
    def table(self) -> ProcessTable:
        """The table."""
        return self.query_one("#table", ProcessTable)

    @property
    def pane(self) -> LogPane:
        """The log."""
        return self.query_one("#log", LogPane)

    @property
    def row(self) -> Row | None:
        """What is selected."""
        return self.table.selected

    @property
    def whole(self) -> bool:
        """Whether all its parts are there: at the end they go one by one, while timers may still call."""
        return len(self.query(PARTS)) == PARTS.count("#")

    async def on_mount(self) -> None:
        """Begin to look, and to follow."""
        loop = asyncio.get_running_loop()
        with suppress(ValueError, RuntimeError):  # not in the main thread, as in a test
            loop.add_signal_handler(signal.SIGTERM, self.exit)
        self.table.focus()
        self._keep_status()
        self._keep_events()
        self.set_interval(FOLLOW, self._follow)

    def on_unmount(self) -> None:
        """Let go of the supervisor and of the files."""
        for task in self._tasks:
            task.cancel()
        self._link.close()
        self._feed.close()

    @work(exit_on_error=True)
    async def _keep_status(self) -> None:
        while True:
            self._changed.clear()
            try:
                self._status = await self._link.status()
                self._lost_at = None
            except NotRunningError:
                self._lost_at = self._lost_at or time.monotonic()
            self._show_status()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), REFRESH)
            await asyncio.sleep(QUIET)

    @work(exit_on_error=True)
    async def _keep_events(self) -> None:
        async for _ in self._link.changes():
            self._changed.set()

    def _show_status(self) -> None:
        if not self.whole:
            return
        lost = self._lost_at is not None
        if self._status:
            if not lost:
                stats.fill(self._status, self._meter)
            rows = model.rows(self._status)
            self.table.show_rows(rows, lost=lost)
            self.table.styles.height = len(rows) + 1
        since = time.monotonic() - self._lost_at if self._lost_at is not None else None
        name = self._instance.name
        self.query_one("#head", Static).update(head(name, self._status, since, self.size.width))
        self._show_title()
        self.query_one("#blockers", BlockersPane).show_status(self._status)

    @on(ProcessTable.Selected)
    def _on_selected(self, event: ProcessTable.Selected) -> None:
        if not self.whole:
            return
        self._load(event.row)
        self._show_title()

    @work(exclusive=True, group="load")
    async def _load(self, row: Row) -> None:
        """Show the log of `row` from its last lines on."""
        if self.whole:
            await self._feed.load(row, self.pane)
        self._show_title()

    def _follow(self) -> None:
        if self.whole and self._feed.follow(self.pane):
            self._show_title()

    def _show_title(self) -> None:
        if not self.whole:
            return
        waits = self.pane.display
        text = log_title(
            self.row, log=waits, paused=self._feed.paused, at_end=self.pane.at_end, lines=self.pane.lines,
            width=self.size.width,
        )  # fmt: skip
        title = self.query_one("#title", Static)
        if title.visual is None or str(title.content) != str(text):
            title.update(text)

    def action_log(self, how: str) -> None:
        """Scroll the log by a page, whatever has the focus."""
        getattr(self.pane, f"action_{how}")()

    def action_wrap(self) -> None:
        """Fold long lines, or not."""
        self.pane.set_wrap(not self.pane.wrap)
        self.say("long lines are folded" if self.pane.wrap else "long lines go on to the right: left, right")

    def action_pause(self) -> None:
        """Hold the log still; nothing is lost, it goes on where it was."""
        self._feed.paused = not self._feed.paused
        self._show_title()

    def action_blockers(self) -> None:
        """The tree of who waits for whom in the place of the log, and back."""
        tree = self.query_one("#blockers")
        tree.display = not tree.display
        self.pane.display = not tree.display
        self._show_title()

    def action_zoom(self) -> None:
        """The log alone, and back."""
        self.table.display = not self.table.display
        (self.table if self.table.display else self.pane).focus()

    def action_switch(self) -> None:
        """The focus from the table to the log and back."""
        if isinstance(self.screen, Question):
            self.screen.focus_next()
        elif self.pane.has_focus and self.table.display:
            self.table.focus()
        else:
            self.pane.focus()

    def action_ask(self, what: str) -> None:
        """Open the line in which the search or the filter is typed."""
        if not self.pane.display:
            self.action_blockers()
        self._asking = what
        field = self.query_one("#input", Input)
        field.placeholder = {"search": "search for …", "filter": "only lines that contain …"}[what]
        field.value = self.pane.lines.search if what == "search" else self.pane.lines.filter
        field.display = True
        self.query_one("#keys").display = False
        # At once: focus() would wait, and what is typed on would be taken for commands.
        self.screen.set_focus(field)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a text is typed, its / and f are letters; above a question they mean nothing."""
        asking = self.query_one("#input").display or len(self.screen_stack) > 1
        return action != "ask" or not asking

    @on(Input.Submitted)
    def _on_answer(self, event: Input.Submitted) -> None:
        text = event.value
        self._end_asking()
        if self._asking == "filter":
            self.pane.set_filter(text)
            return
        count = self.pane.set_search(text)
        if text:
            found = f"{count} lines have {text!r}" if count != 1 else f"1 line has {text!r}"
            self.say(f"{found}; n and N go on, Esc ends" if count else f"no line has {text!r}")

    def _end_asking(self) -> None:
        self.query_one("#input").display = False
        self.query_one("#keys").display = True
        (self.table if self.table.display else self.pane).focus()

    def action_hit(self, back: bool) -> None:
        """The next line with the search, or the one before."""
        if self.pane.lines.search and not self.pane.next_hit(back=back):
            self.say("no further line above" if back else "no further line below")

    def action_clear(self) -> None:
        """Leave the line that is typed in; else end the search and the filter and follow again."""
        if self.query_one("#input").display:
            self._end_asking()
            return
        self.pane.set_filter("")
        self.pane.set_search("")
        self.pane.action_newest()
        self.query_one("#keys", KeyLine).forget()

    def action_act(self, what: str) -> None:
        """Start, stop or restart what is selected."""
        if self.row:
            self._do(actions.ACTIONS[what](self.row))

    def action_scale(self, more: int) -> None:
        """So many processes more (or fewer)."""
        if self.row:
            try:
                self._do(actions.scale_by(self.row, self._status, more))
            except UsageError as error:
                self.say(error.message, "yellow")

    @work
    async def action_stop_all(self) -> None:
        """End the instance, after a question."""
        text = f"Stop {self._instance.name}: every service of it, and its supervisor?"
        if await self.push_screen_wait(Question(text, "Stop everything")):
            self.exit(STOP)

    def action_detach(self) -> None:
        """Leave; everything runs on."""
        self.exit()

    def action_help(self) -> None:
        """All keys."""
        self.push_screen(Help())

    @work
    async def _do(self, action: Action) -> None:
        if action.question and not await self.push_screen_wait(Question(action.question, "Yes")):
            return
        # A task of its own: a slow start must not hold back a stop.
        task = asyncio.ensure_future(self._run(action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, action: Action) -> None:
        self.say(action.doing, seconds=60)
        try:
            answer = await self._link.call(action.command, action.arguments)
        except AmpzeroError as error:
            self.say(f"{error.message} ({error.hint})" if error.hint else error.message, "bold red", 20)
            return
        survivors = answer.get("survivors") if isinstance(answer, dict) else None
        if survivors:
            self.say(f"these are left: {', '.join(survivors)}", "bold red", 20)
        else:
            self.say(action.done, "green")
        self._changed.set()

    def say(self, text: str, style: str = "", seconds: float = SAID) -> None:
        """Put a message in the place of the list of keys for a while."""
        self.query_one("#keys", KeyLine).say(text, style, seconds)
