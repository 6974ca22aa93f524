"""The runtime as an ASGI application: modules with and without errors, signing in, forged requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from node_support import HOST, ask, make_application

from lib.login import LoginLinks
from lib.node.app import create_app
from lib.node.node import Node

GOOD = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route

def routes(node):
    async def page(request):
        return PlainTextResponse(f"good {node.options.get('word', '')} {node.path}")
    async def fails(request):
        raise ValueError("in a request")
    def deep(request):
        return PlainTextResponse("deep " + request.path_params["name"])
    return [Route("/", page), Route("/fails", fails), Route("/deep/{name}", deep)]
"""
CONFIG = "modules: {good: {options: {word: old}}, bad: {}}\n"
ERRORS = {
    "syntax": ("def routes(node:\n", "SyntaxError"),
    "import": ("import there_is_no_such_library\n", "there_is_no_such_library"),
    "exit": ("raise SystemExit(3)\n", "SystemExit"),
    "routes": ("def routes(node):\n    raise KeyError('no luck')\n", "no luck"),
    "nothing": ("def routes(node):\n    pass\n", "must return a list"),
    "no_function": ("x = 1\n", "routes"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_a_broken_module_has_its_traceback_in_the_log_and_the_others_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    source, words = ERRORS[kind]
    settings = make_application(tmp_path, CONFIG, good=GOOD, bad=source)
    app = create_app(settings)
    assert "the module bad could not be loaded" in caplog.text and "Traceback" in caplog.text
    assert words in caplog.text
    for target in ("/bad", "/bad/", "/bad/below"):
        answer = ask(app, "GET", target)
        assert answer.status == 500 and "This module has an error" in answer.text
        assert "Traceback" not in answer.text
    assert ask(app, "GET", "/good").text == "good old /good"


def test_a_module_without_its_file_is_a_broken_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(make_application(tmp_path, CONFIG, good=GOOD))
    assert "services.bad" in caplog.text
    assert ask(app, "GET", "/bad").status == 500
    assert ask(app, "GET", "/good/").status == 200


def test_an_exception_in_a_request_is_one_page_and_one_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(make_application(tmp_path, "modules: {good: }", good=GOOD))
    answer = ask(app, "GET", "/good/fails")
    assert answer.status == 500 and "ampzero logs demo ampnode" in answer.text
    assert "in a request" not in answer.text
    assert "ValueError: in a request" in caplog.text
    assert ask(app, "GET", "/good/deep/er").text == "deep er"


def test_only_debugging_shows_the_traceback_in_the_page(tmp_path: Path) -> None:
    settings = make_application(tmp_path, "modules: {good: }", good=GOOD)
    answer = ask(create_app(replace(settings, debug=True)), "GET", "/good/fails")
    assert "ValueError: in a request" in answer.text


def test_the_folder_of_another_instance_is_not_mixed_in(tmp_path: Path) -> None:
    other = GOOD.replace("good {node", "other {node")
    first = create_app(make_application(tmp_path / "a", "modules: {good: }", good=GOOD))
    second = create_app(make_application(tmp_path / "b", "modules: {good: }", good=other))
    assert ask(first, "GET", "/good").text.startswith("good")
    assert ask(second, "GET", "/good").text.startswith("other")


def test_modules_may_import_each_other(tmp_path: Path) -> None:
    user = "from services import good\nroutes = good.routes\n"
    app = create_app(make_application(tmp_path, "modules: {user: }", good=GOOD, user=user))
    assert ask(app, "GET", "/user").text == "good  /user"


def test_a_module_can_have_the_root_when_the_console_moves(tmp_path: Path) -> None:
    config = "modules: {good: {path: /}}\nconsole: {path: /console}\n"
    app = create_app(make_application(tmp_path, config, good=GOOD))
    assert ask(app, "GET", "/").text == "good  /"
    assert "ampzero login demo" in ask(app, "GET", "/console").text
    assert ask(app, "GET", "/healthz").text == "ok\n"


def test_without_the_console_there_is_no_way_in(tmp_path: Path) -> None:
    settings = make_application(tmp_path, "console: {enabled: false}\n")
    app = create_app(settings)
    for method, target in [("GET", "/"), ("GET", "/login"), ("POST", "/login"), ("GET", "/_ampzero/status")]:
        assert ask(app, method, target, {} if method == "POST" else None).status == 404


def test_a_template_that_uses_an_unknown_value_is_an_error_and_values_are_escaped(tmp_path: Path) -> None:
    source = (
        "from starlette.routing import Route\n"
        "def routes(node):\n"
        "    async def good(r): return node.page('page.html', word='<b>')\n"
        "    async def bad(r): return node.page('page.html')\n"
        "    return [Route('/good', good), Route('/bad', bad)]\n"
    )
    settings = make_application(tmp_path, "modules: {m: }", m=source)
    (settings.application / "templates/page.html").write_text("{{ word }} of {{ node.name }}")
    app = create_app(settings)
    assert ask(app, "GET", "/m/good").text == "&lt;b&gt; of demo"
    assert ask(app, "GET", "/m/bad").status == 500


def test_a_part_that_the_instance_lacks_names_what_to_add(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = "def routes(node):\n    node.redis\n"
    create_app(make_application(tmp_path, "modules: {m: }", m=source))
    assert "the instance demo has no redis service" in caplog.text
    assert "hint: add `redis: {}` under services: in amprun.yaml" in caplog.text


def test_a_module_knows_who_the_instance_is(tmp_path: Path) -> None:
    source = (
        "from starlette.responses import JSONResponse\nfrom starlette.routing import Route\n"
        "def routes(node):\n"
        "    def who(r): return JSONResponse([node.keys.host.id, node.keys.user, node.keys.hub_file.name])\n"
        "    return [Route('/', who)]\n"
    )
    settings = make_application(tmp_path, "modules: {m: }", m=source)
    note = (
        "ampzero/key/v1\nid: host-7\nhub: local\nsigning: ssh-ed25519 AAAA\n\n— local/keys c2ln\nid: user-1\n"
    )
    (settings.application / "host-7.public.key").write_text(note)
    (settings.application / "hub.public.key").write_text("hub")
    assert ask(create_app(settings), "GET", "/m").text == '["host-7",null,"hub.public.key"]'


# ---- signing in


@pytest.fixture
def console(tmp_path: Path) -> tuple[Any, LoginLinks]:
    settings = make_application(tmp_path)
    return create_app(settings), LoginLinks(settings.state)


def sign_in(app: Any, links: LoginLinks) -> str:
    return ask(app, "POST", "/login", {"token": links.make()}, origin=f"https://{HOST}").cookie


def csrf_of(app: Any, cookie: str) -> str:
    page = ask(app, "GET", "/", cookie=cookie).text
    return page.partition('<meta name="csrf" content="')[2].partition('"')[0]


def test_opening_the_link_uses_nothing_up(console: tuple[Any, LoginLinks]) -> None:
    app, links = console
    token = links.make()
    for _ in range(3):
        assert ask(app, "GET", "/login").status == 200
    assert ask(app, "POST", "/login", {"token": token}).status == 303


def test_a_link_signs_in_once_with_a_strict_cookie(console: tuple[Any, LoginLinks]) -> None:
    app, links = console
    token = links.make()
    answer = ask(app, "POST", "/login", {"token": token}, origin=f"https://{HOST}")
    assert answer.status == 303 and answer.headers["location"] == "/"
    attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= attributes
    assert not any(attribute.startswith("domain") for attribute in attributes)
    assert answer.cookie.startswith("__Host-ampzero-")
    assert 'name="csrf"' in ask(app, "GET", "/", cookie=answer.cookie).text
    second = ask(app, "POST", "/login", {"token": token})
    assert second.status == 403 and "used already" in second.text and "set-cookie" not in second.headers


def test_a_foreign_page_cannot_use_a_link(console: tuple[Any, LoginLinks]) -> None:
    app, links = console
    token = links.make()
    foreign: list[dict[str, str]] = [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://localhost:9999"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ]
    for headers in foreign:
        assert ask(app, "POST", "/login", {"token": token}, **headers).status == 403
    assert ask(app, "POST", "/login", {"token": token}).status == 303  # it was not used up


def test_a_form_that_is_none_or_too_large_is_refused(console: tuple[Any, LoginLinks]) -> None:
    app, links = console
    token = links.make()
    assert ask(app, "POST", "/login", {"token": token}, content_type="text/plain").status == 403
    assert ask(app, "POST", "/login", {"token": token, "more": "x" * 9000}).status == 403
    assert ask(app, "POST", "/login", {str(number): "" for number in range(40)}).status == 403
    assert ask(app, "POST", "/login", {"token": token}).status == 303


def test_without_a_session_nothing_is_shown_or_done(console: tuple[Any, LoginLinks]) -> None:
    app, _ = console
    page = ask(app, "GET", "/")
    assert "ampzero login demo" in page.text and "csrf" not in page.text
    assert ask(app, "GET", "/_ampzero/status").status == 401
    assert ask(app, "GET", "/_ampzero/stream").status == 401
    assert ask(app, "POST", "/_ampzero/control", {"action": "stop", "service": "redis"}).status == 401


def test_the_buttons_want_the_token_and_the_origin(console: tuple[Any, LoginLinks]) -> None:
    app, links = console
    cookie, other = sign_in(app, links), sign_in(app, links)
    form = {"action": "stop", "service": "redis"}
    for csrf in ("", "x", csrf_of(app, other)):
        assert ask(app, "POST", "/_ampzero/control", {**form, "csrf": csrf}, cookie=cookie).status == 403
    right = {**form, "csrf": csrf_of(app, cookie)}
    evil = ask(app, "POST", "/_ampzero/control", right, cookie=cookie, origin="https://evil.example")
    assert evil.status == 403
    for wrong in ({"action": "shutdown"}, {"service": "../x"}, {"service": ""}):
        assert ask(app, "POST", "/_ampzero/control", {**right, **wrong}, cookie=cookie).status == 400


def test_signing_out_wants_the_token_and_ends_the_session(console: tuple[Any, LoginLinks]) -> None:
    app, links = console
    cookie = sign_in(app, links)
    assert ask(app, "POST", "/logout", {}, cookie=cookie).status == 403
    assert 'name="csrf"' in ask(app, "GET", "/", cookie=cookie).text
    answer = ask(app, "POST", "/logout", {"csrf": csrf_of(app, cookie)}, cookie=cookie)
    assert answer.status == 303 and "max-age=0" in answer.headers["set-cookie"].lower()
    assert "You are not signed in" in ask(app, "GET", "/", cookie=cookie).text


def test_pages_allow_nothing_inline_and_nothing_from_elsewhere(console: tuple[Any, LoginLinks]) -> None:
    app, links = console
    cookie = sign_in(app, links)
    for target in ("/", "/login", "/nothing", "/_ampzero/static/console.js", "/_ampzero/static/console.css"):
        answer = ask(app, "GET", target, cookie=cookie)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "<style" not in answer.text and " style=" not in answer.text and " onclick=" not in answer.text
        assert "https://" not in answer.text and "http://" not in answer.text


def test_static_files_stay_in_their_folder(console: tuple[Any, LoginLinks]) -> None:
    app, _ = console
    assert ask(app, "GET", "/_ampzero/static/console.css").headers["content-type"].startswith("text/css")
    for target in (
        "/_ampzero/static/../app.py",
        "/_ampzero/static/..%2fapp.py",
        "/_ampzero/static/%2e%2e/app.py",
    ):
        assert ask(app, "GET", target).status == 404


def test_the_reference_names_everything_that_a_module_gets() -> None:
    text = (Path(__file__).parents[2] / "docs/node.md").read_text()
    missing = [name for name in vars(Node) if not name.startswith("_") and f"`node.{name}" not in text]
    missing += [name for name in ("module", "path", "options") if f"`node.{name}`" not in text]
    assert missing == []
