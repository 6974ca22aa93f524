"""The console in a real browser, against a whole instance behind nginx with TLS."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from support import Ampzero, unused_port, wait_for

INSTALL = "sudo apt-get install -y chromium chromium-driver"
PHONE = (320, 640)


def program(*names: str) -> str:
    """The first of the programs that is there."""
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.fail(f"{names[0]} is needed for the browser tests: {INSTALL}")


class Console:
    """A running instance and what its command line says about it."""

    def __init__(self, folder: Path, port: int, printed: str) -> None:
        self.folder = folder
        self.name = folder.name
        self.port = port
        self.base = f"https://localhost:{port}"
        self.ampzero = Ampzero()
        links = re.findall(r"https://localhost:\d+/login\S*", printed)
        assert len(links) == 1, f"`run` must print one link:\n{printed}"
        self.printed_link = links[0]

    def link(self) -> str:
        """Another one-time link."""
        return self.ampzero("login", self.folder).out.strip()

    def service(self, name: str) -> dict[str, Any]:
        """What `status --json` says about a service."""
        services = json.loads(self.ampzero("status", self.folder, "--json").out)["services"]
        found: dict[str, Any] = next(service for service in services if service["name"] == name)
        return found


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    home, port, ampzero = tmp_path_factory.mktemp("console"), unused_port(), Ampzero()
    # A name of its own: the first choice of ports follows from the name, and tests run side by side.
    name = f"demo-{port}"
    made = ampzero(
        "init", name, "--yes", "--dir", home, "--set", f"port={port}", "--set", f"root={home / 'var'}"
    )
    assert made.code == 0, made.err
    folder = home / name
    try:
        run = ampzero("run", folder, timeout=120)
        assert run.code == 0, run.err
        yield Console(folder, port, run.out)
    finally:
        ampzero("quit", folder)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    options.accept_insecure_certs = True  # the CA is this test's own; that it verifies is tested with curl
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        "--headless=new", "--window-size=1280,1000", "--disable-dev-shm-usage", "--lang=en-GB",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # chromium refuses to start as root with it
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(program("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The page as its user sees it."""

    def __init__(self, driver: webdriver.Chrome, console: Console, shots: Path) -> None:
        self.driver = driver
        self.console = console
        self.shots = shots

    def open(self, link: str) -> None:
        """Open a one-time link and press its button."""
        self.driver.get("about:blank")  # a link that differs in its fragment alone would not be loaded
        self.driver.get(link)
        self.one("#sign-in").click()

    def sign_in(self) -> None:
        """Sign in and wait for the table."""
        self.open(self.console.link())
        assert wait_for(lambda: self.has("tbody[data-service=nginx]"))

    def one(self, selector: str) -> WebElement:
        """The first element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def has(self, selector: str) -> bool:
        """Whether there is such an element."""
        return bool(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def text(self, selector: str = "body") -> str:
        """The visible text; empty while the page is being replaced."""
        try:
            found = self.driver.find_elements(By.CSS_SELECTOR, selector)
            return found[0].text if found else ""
        except StaleElementReferenceException:
            return ""

    def cell(self, service: str, column: str) -> str:
        """A cell of a service's own row."""
        return self.text(f"tbody[data-service={service}] .main .{column}")

    def state(self, service: str) -> str:
        """A service's state as shown."""
        return self.text(f"tbody[data-service={service}] .main .pill")

    def button(self, service: str, action: str) -> WebElement:
        """A service's button."""
        return self.one(f"tbody[data-service={service}] button[data-action={action}]")

    def shot(self, name: str) -> None:
        """Save a screenshot."""
        assert self.driver.save_screenshot(str(self.shots / f"{name}.png"))

    def messages(self) -> list[dict[str, Any]]:
        """What the browser has written to its own log since the last call."""
        found: list[dict[str, Any]] = self.driver.execute("getLog", {"type": "browser"})["value"]
        return found

    def focused(self) -> str:
        """What has the focus: its id, else its label, else its text."""
        return str(
            self.driver.execute_script(
                "const e = document.activeElement;"
                "return e.id || e.getAttribute('aria-label') || e.textContent"
            )
        )


@pytest.fixture
def page(chromium: webdriver.Chrome, console: Console, tmp_path: Path) -> Iterator[Page]:
    shots = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)
    chromium.delete_all_cookies()
    page = Page(chromium, console, shots)
    page.messages()
    yield page
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.get("about:blank")


def test_the_printed_link_signs_in_once(page: Page, console: Console) -> None:
    page.driver.get(console.base + "/")
    assert f"ampzero login {console.name}" in page.text()
    page.shot("signed-out")
    page.driver.get(console.printed_link)
    assert page.driver.current_url == console.base + "/login"  # the token is out of the address bar
    page.shot("link")
    page.one("#sign-in").send_keys(Keys.ENTER)
    names = ("keyspace", "redis", "zerodata", "logstore", "ampnode", "nginx")
    assert wait_for(lambda: all(page.state(name) == "ready" for name in names)), page.text()
    assert page.text("#state") == "ready" and page.driver.current_url == console.base + "/"
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "tbody[data-service=ampnode] tr.process")) == 2
    assert wait_for(lambda: "Ready to accept connections" in page.text("#lines"))
    page.shot("console")
    # No violation of the Content-Security-Policy, no script error, nothing missing.
    assert [entry for entry in page.messages() if entry["level"] == "SEVERE"] == []

    page.open(console.printed_link)
    assert wait_for(lambda: "used already" in page.text()) and f"ampzero login {console.name}" in page.text()
    page.shot("used-link")


def test_a_killed_process_is_seen_to_come_back(page: Page, console: Console) -> None:
    page.sign_in()
    assert wait_for(lambda: page.state("redis") == "ready")
    before = console.service("redis")
    pid = int(page.cell("redis", "pid"))
    assert pid == before["processes"][0]["pid"]
    os.kill(pid, signal.SIGKILL)
    restarts = str(before["restarts"] + 1)
    assert wait_for(lambda: page.cell("redis", "restarts") == restarts and page.state("redis") == "ready")
    assert page.cell("redis", "pid") not in ("", str(pid))
    Select(page.one("#log-service")).select_by_value("redis")
    assert wait_for(lambda: "SIGKILL" in page.text("#lines") or "signal" in page.text("#lines").lower())
    page.shot("came-back")


def test_logs_are_live_and_can_be_chosen_searched_and_paused(page: Page, console: Console) -> None:
    page.sign_in()

    def visit(name: str) -> None:
        script = "fetch(arguments[0]).catch(() => {})"
        page.driver.execute_script(script, f"/hello/{name}")

    visit("first-visit")
    assert wait_for(lambda: "first-visit" in page.text("#lines"))
    Select(page.one("#log-service")).select_by_value("redis")
    assert wait_for(lambda: "Ready to accept connections" in page.text("#lines"))
    assert "first-visit" not in page.text("#lines")

    Select(page.one("#log-service")).select_by_value("")
    page.one("#log-search").send_keys("FIRST-vis")
    assert wait_for(lambda: "first-visit" in page.text("#lines") and "Ready to" not in page.text("#lines"))
    page.one("#log-search").send_keys(Keys.CONTROL, "a")
    page.one("#log-search").send_keys("no-such-text")
    assert wait_for(lambda: page.text("#log-note") == "No line has this text yet.")
    page.one("#log-search").send_keys(Keys.CONTROL, "a")
    page.one("#log-search").send_keys(Keys.BACKSPACE)
    assert wait_for(lambda: "first-visit" in page.text("#lines"))

    page.one("#pause").click()
    assert page.one("#pause").get_attribute("aria-pressed") == "true"
    visit("while-paused")
    assert wait_for(lambda: "new line" in page.text("#log-note"))
    assert "while-paused" not in page.text("#lines")
    page.one("#pause").click()
    assert wait_for(lambda: "while-paused" in page.text("#lines"))


def test_the_buttons_stop_start_and_restart_by_keyboard(page: Page, console: Console) -> None:
    page.sign_in()
    pid = page.cell("redis", "pid")
    page.button("redis", "restart").send_keys(Keys.ENTER)
    assert wait_for(lambda: page.cell("redis", "pid") not in ("", pid) and page.state("redis") == "ready")
    assert "restart redis" in page.text("#outcome")
    page.button("redis", "stop").send_keys(Keys.SPACE)
    assert wait_for(lambda: page.state("redis") == "stopped"), page.text()
    assert console.service("redis")["state"] == "stopped"
    assert wait_for(lambda: page.text("#state") != "ready")
    assert not page.button("redis", "stop").is_enabled()
    page.shot("stopped")
    page.button("redis", "start").send_keys(Keys.ENTER)
    assert wait_for(lambda: page.state("redis") == "ready" and page.text("#state") == "ready"), page.text()


def test_stopping_what_the_page_comes_through_asks_first(page: Page, console: Console) -> None:
    page.sign_in()
    page.button("nginx", "stop").click()
    assert wait_for(lambda: page.one("#confirm").is_displayed())
    assert f"ampzero start {console.name} nginx" in page.text("#confirm")
    page.shot("confirm")
    ActionChains(page.driver).send_keys(Keys.ENTER).perform()  # the harmless answer has the focus
    assert wait_for(lambda: not page.one("#confirm").is_displayed())
    assert console.service("nginx")["state"] == "ready"


def test_a_lost_connection_is_shown_and_comes_back_by_itself(page: Page, console: Console) -> None:
    page.sign_in()
    assert console.ampzero("stop", console.folder, "nginx").code == 0
    try:
        assert wait_for(lambda: "Connection lost" in page.text("#connection"))
        page.shot("lost")
    finally:
        assert console.ampzero("start", console.folder, "nginx").code == 0
    assert wait_for(lambda: not page.one("#connection").is_displayed())
    assert wait_for(lambda: page.state("nginx") == "ready")


def test_a_restart_of_the_node_keeps_the_page_and_the_session(page: Page, console: Console) -> None:
    page.sign_in()
    pid = page.text("tbody[data-service=ampnode] tr.process .pid")
    page.button("ampnode", "restart").click()
    changed = "tbody[data-service=ampnode] tr.process .pid"
    assert wait_for(lambda: page.text(changed) not in ("", pid) and page.state("ampnode") == "ready")
    assert wait_for(lambda: not page.one("#connection").is_displayed())


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.sign_in()
    width, height = PHONE
    metrics: dict[str, Any] = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert wait_for(lambda: page.driver.execute_script("return innerWidth") == width)
    page.shot("phone")
    assert page.driver.execute_script("return document.documentElement.scrollWidth") == width
    for button in page.driver.find_elements(By.CSS_SELECTOR, "tbody button"):
        assert button.size["height"] >= 40 and button.size["width"] >= 60
        assert button.location["x"] >= 0 and button.location["x"] + button.size["width"] <= width
    page.driver.execute_script("document.querySelector('#logs').scrollIntoView()")
    page.shot("phone-logs")
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    page.shot("phone-dark")


def test_the_keyboard_reaches_everything_and_the_focus_is_seen(page: Page) -> None:
    page.sign_in()
    reached: list[str] = []
    for _ in range(60):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        reached.append(page.focused())
        style = "return getComputedStyle(document.activeElement).outlineStyle"
        assert page.driver.execute_script(style) != "none", reached[-1]
        if reached[-1] == "lines":
            break
    assert reached[0] == "Skip to the logs" and reached[1] == "Sign out"
    wanted = [f"{action} {name}" for name in ("redis", "ampnode", "nginx") for action in ("Stop", "Restart")]
    places = [reached.index(name) for name in [*wanted, "log-service", "log-search", "pause", "lines"]]
    assert places == sorted(places)


def test_signing_out_ends_the_session(page: Page, console: Console) -> None:
    page.sign_in()
    (cookie,) = page.driver.get_cookies()
    assert cookie["name"].startswith("__Host-") and cookie["httpOnly"] and cookie["secure"]
    assert cookie["sameSite"] == "Strict"
    page.one("header form button").click()
    assert wait_for(lambda: "You are not signed in" in page.text())
    # A copy of the cookie is worth nothing, either. (A browser driver cannot set __Host- cookies.)
    context = ssl._create_unverified_context()  # noqa: S323 -- the CA is this test's own
    connection = http.client.HTTPSConnection("localhost", console.port, context=context)
    connection.request("GET", "/", headers={"Cookie": f"{cookie['name']}={cookie['value']}"})
    assert "You are not signed in" in connection.getresponse().read().decode()
    connection.close()


def test_a_module_of_the_instance_is_served(page: Page, console: Console) -> None:
    page.driver.get(console.base + "/hello")
    assert f"Hello from {console.name}" in page.text()


def test_the_node_had_nothing_to_complain_about(console: Console) -> None:
    log = console.ampzero("logs", console.folder, "ampnode").out
    assert "ready" in log
    assert "Traceback" not in log and "Task was destroyed" not in log
