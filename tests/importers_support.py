"""One small application (web + worker + scheduler) in every format that is read."""

from __future__ import annotations

from pathlib import Path

APPLICATION = """
import os, sys, time
print("started", sys.argv[1], "as", os.environ.get("MODE"), flush=True)
if sys.argv[1] == "web" and "PORT" in os.environ:
    import http.server
    port = int(os.environ["PORT"])
    http.server.HTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
while True:
    time.sleep(1)
"""

FORMATS = {
    "procfile": ("Procfile", """
web: python3 app.py web
worker: python3 app.py worker --queue "a b"
scheduler: python3 app.py scheduler
"""),
    "circus": ("circus.ini", """
[circus]
check_delay = 5

[watcher:web]
cmd = python3
args = app.py web
copy_env = True

[watcher:worker]
cmd = python3 app.py worker --queue "a b"
copy_env = True

[watcher:scheduler]
cmd = python3 app.py scheduler
copy_env = True

[env]
MODE = test
"""),
    "supervisord": ("supervisord.conf", """
[supervisord]
nodaemon = true

[program:web]
command = python3 app.py web
environment = MODE="test"
autorestart = true

[program:worker]
command = python3 app.py worker --queue "a b"
environment = MODE="test"
autorestart = true

[program:scheduler]
command = python3 app.py scheduler
environment = MODE="test"
autorestart = true
"""),
    "process-compose": ("process-compose.yaml", """
version: "0.5"
environment:
  - MODE=test
processes:
  web:
    command: python3 app.py web
    availability: {restart: always}
  worker:
    command: python3 app.py worker --queue "a b"
    availability: {restart: always}
  scheduler:
    command: python3 app.py scheduler
    availability: {restart: always}
"""),
    "compose": ("docker-compose.yml", """
x-common: &common
  build: .
  restart: always
  environment: {MODE: test}
services:
  web:
    <<: *common
    command: python3 app.py web
  worker:
    <<: *common
    command: ["python3", "app.py", "worker", "--queue", "a b"]
  scheduler:
    <<: *common
    command: python3 app.py scheduler
"""),
}  # fmt: skip
"""By the format's name: the file's name and its text."""


def write(folder: Path, form: str) -> Path:
    """The application in `folder`, as a file of this format; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app.py").write_text(APPLICATION)
    name, text = FORMATS[form]
    if form == "procfile":
        (folder / ".env").write_text("MODE=test\n")
    (folder / name).write_text(text)
    return folder / name
