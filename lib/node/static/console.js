// The console's page: shows the status and the log lines that /_ampzero/stream sends, and presses its buttons.
//
// Owns nothing but what is on the screen. Everything that came from outside is set as text, never as HTML.

const SILENCE = 15_000; // ms without a sign of life (one comes every 5 s) after which the connection is lost
const RETRY = [500, 1000, 2000, 4000]; // ms between attempts to connect again
const MOST_LINES = 2000;
const TONES = {
  good: ["ready", "running", "completed"],
  busy: ["starting", "waiting", "stopping", "backoff", "degraded"],
  bad: ["failed", "gave-up"],
};
const TAKES_THE_PAGE_ALONG = ["nginx", "ampnode"]; // kinds that this page itself comes through

const $ = (id) => document.getElementById(id);
const csrf = document.querySelector('meta[name="csrf"]').content;
const rows = new Map(); // service name -> {body, services' last status}
let source = null;
let lastSign = 0;
let attempts = 0;
let retryTimer = 0;
let taken = Date.now(); // when the status that is shown came
let shownStatus = null;

// ---- the connection

function connect() {
  clearTimeout(retryTimer);
  if (source) source.close();
  const query = new URLSearchParams({ service: $("log-service").value, search: $("log-search").value.trim() });
  source = new EventSource(`/_ampzero/stream?${query}`);
  lastSign = Date.now();
  const on = (event, act) =>
    source.addEventListener(event, (message) => {
      lastSign = Date.now();
      attempts = 0;
      act(JSON.parse(message.data));
    });
  on("status", (status) => { announce(""); showStatus(status); });
  on("lost", (lost) => announce(`The supervisor does not answer: ${lost.reason}`));
  on("logs", takeLines);
  on("beat", () => {});
  on("over", () => location.reload());
  source.onerror = lost;
}

async function lost() {
  source.close();
  announce("Connection lost. Connecting again…");
  document.body.classList.add("lost");
  const wait = RETRY[Math.min(attempts++, RETRY.length - 1)];
  clearTimeout(retryTimer);
  retryTimer = setTimeout(async () => {
    try {
      // An event source does not tell why it failed; this does. Signed out is not a lost connection.
      const response = await fetch("/_ampzero/status", { headers: { Accept: "application/json" } });
      if (response.status === 401) return location.reload();
      if (response.ok || response.status === 503) return connect();
    } catch {
      // Still away.
    }
    lost();
  }, wait);
}

function announce(text) {
  const notice = $("connection");
  if (notice.textContent !== text) notice.textContent = text;
  notice.hidden = !text;
  if (!text) document.body.classList.remove("lost");
}

// ---- the services

function showStatus(status) {
  shownStatus = status;
  taken = Date.now();
  pill($("state"), status.state);
  const facts = [
    status.directory,
    status.hub?.state && `hub: ${status.hub.state}`,
    status.nat?.state && `NAT: ${status.nat.state}`,
  ];
  $("facts").textContent = facts.filter(Boolean).join("  ·  ");
  document.title = `${status.name} – ${status.state}`;
  const names = new Set(status.services.map((service) => service.name));
  for (const [name, row] of rows) {
    if (!names.has(name)) { row.remove(); rows.delete(name); }
  }
  for (const service of status.services) showService(service);
  showChoices([...names, "supervisor"]);
}

function showService(service) {
  let body = rows.get(service.name);
  if (!body) {
    body = $("service-row").content.firstElementChild.cloneNode(true);
    body.dataset.service = service.name;
    for (const button of body.querySelectorAll("button")) {
      button.setAttribute("aria-label", `${button.textContent} ${service.name}`);
      button.addEventListener("click", () => act(button.dataset.action, rows.get(service.name).status));
    }
    rows.set(service.name, body);
    $("services").append(body);
  }
  body.status = service;
  const one = service.processes.length === 1 ? service.processes[0] : null;
  body.classList.toggle("several", !one);
  const main = body.querySelector(".main");
  put(main.querySelector(".name"), service.name);
  put(main.querySelector(".kind"), service.kind === service.name ? "" : service.kind);
  fill(main, { state: service.state, pid: one?.pid, uptime: one?.uptime, restarts: service.restarts });
  const up = !["stopped", "completed", "failed", "gave-up"].includes(service.state);
  main.querySelector('[data-action="start"]').disabled = up;
  main.querySelector('[data-action="stop"]').disabled = !up || service.state === "stopping";

  const wanted = [];
  if (!one) {
    for (const process of service.processes) wanted.push(["process-row", process.name, (row) => {
      put(row.querySelector(".name"), process.name);
      fill(row, process);
    }]);
  }
  for (const [name, why, state] of reasons(service, one)) wanted.push(["reason-row", `why ${name}`, (row) => {
    put(row.firstElementChild, one || name === service.name ? why : `${name}: ${why}`);
    row.dataset.tone = tone(state);
  }]);
  const old = new Map([...body.children].slice(1).map((row) => [row.dataset.key, row]));
  let after = main;
  for (const [template, key, paint] of wanted) {
    const row = old.get(key) || $(template).content.firstElementChild.cloneNode(true);
    old.delete(key);
    row.dataset.key = key;
    paint(row);
    if (after.nextElementSibling !== row) after.after(row);
    after = row;
  }
  for (const row of old.values()) row.remove();
}

function reasons(service, one) {
  const found = [];
  if (service.reason) found.push([service.name, service.reason, service.state]);
  for (const process of service.processes) {
    const waits = process.waits_for?.length ? `waits for ${process.waits_for.join(", ")}` : "";
    const why = process.reason || waits;
    if (why && why !== service.reason) found.push([one ? service.name : process.name, why, process.state]);
  }
  return found;
}

function fill(row, values) {
  pill(row.querySelector(".pill"), values.state);
  put(row.querySelector(".pid"), values.pid ? String(values.pid) : "", "Pid");
  const uptime = row.querySelector(".uptime");
  uptime.dataset.seconds = values.uptime ?? "";
  put(uptime, duration(values.uptime), "Uptime");
  const restarts = row.querySelector(".restarts");
  put(restarts, String(values.restarts), "Restarts");
  restarts.toggleAttribute("data-none", !values.restarts);
}

function put(element, text, label) {
  if (element.textContent !== text) element.textContent = text;
  if (label) element.dataset.label = label;
}

function pill(element, state) {
  put(element, state);
  element.dataset.state = state;
  element.dataset.tone = tone(state);
}

function tone(state) {
  return Object.keys(TONES).find((name) => TONES[name].includes(state)) || "";
}

function duration(seconds) {
  if (seconds === null || seconds === undefined || seconds === "") return "";
  const whole = Math.floor(seconds);
  const parts = [[Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "m"], [whole % 60, "s"]];
  const first = parts.findIndex(([count]) => count > 0);
  return first < 0 ? "0s" : parts.slice(first, first + 2).map(([count, unit]) => `${count}${unit}`).join(" ");
}

function tick() {
  const passed = (Date.now() - taken) / 1000;
  if (!document.body.classList.contains("lost")) {
    for (const cell of document.querySelectorAll(".uptime")) {
      if (cell.dataset.seconds) put(cell, duration(Number(cell.dataset.seconds) + passed));
    }
  }
  if (source?.readyState === EventSource.OPEN && Date.now() - lastSign > SILENCE) lost();
}

// ---- the buttons

async function act(action, service) {
  if (action === "stop" && TAKES_THE_PAGE_ALONG.includes(service.kind)) {
    const command = `ampzero start ${shownStatus.name} ${service.name}`;
    if (!(await confirmed(`This page comes through ${service.name}. To start it again you will need a terminal: ${command}`))) return;
  }
  const buttons = [...rows.get(service.name).querySelectorAll("button")];
  const button = buttons.find((one) => one.dataset.action === action);
  button.setAttribute("aria-busy", "true");
  $("outcome").textContent = `${action} ${service.name}…`;
  try {
    const response = await fetch("/_ampzero/control", {
      method: "POST",
      body: new URLSearchParams({ action, service: service.name, csrf }),
    });
    if (response.status === 401) return location.reload();
    const type = response.headers.get("Content-Type") || "";
    const answer = type.includes("json") ? await response.json() : { message: `answered with ${response.status}` };
    $("outcome").textContent = response.ok ? answer.message : `${action} ${service.name} failed: ${answer.message}`;
  } catch {
    $("outcome").textContent = `${action} ${service.name}: the connection was lost meanwhile; the table shows the outcome.`;
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function confirmed(text) {
  const dialog = $("confirm");
  $("confirm-text").textContent = text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

// ---- the logs

let paused = false;
let held = [];
let empty = true;

function showChoices(names) {
  const select = $("log-service");
  const known = [...select.options].slice(1).map((option) => option.value);
  if (known.join() === names.join()) return;
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...names.map((name) => new Option(name, name)));
  if (names.includes(chosen)) select.value = chosen;
}

function takeLines({ lines, fresh }) {
  if (paused && !fresh) {
    held = held.concat(lines).slice(-MOST_LINES);
    note(`Paused; ${held.length} new ${held.length === 1 ? "line" : "lines"}.`);
    return;
  }
  // After a new connection the last lines come again: what is held or shown is replaced.
  if (fresh) { held = []; $("lines").replaceChildren(); empty = true; }
  addLines(lines);
  if (empty) note($("log-search").value.trim() ? "No line has this text yet." : "No lines yet.");
  else if (!paused) note("");
}

function addLines(lines) {
  if (!lines.length) return;
  empty = false;
  const box = $("lines");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.append(...lines.map(lineElement));
  while (box.childElementCount > MOST_LINES) box.firstElementChild.remove();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function lineElement(line) {
  const row = document.createElement("div");
  row.className = "line";
  row.dataset.stream = line.stream;
  const time = document.createElement("time");
  time.dateTime = line.time;
  time.title = line.time;
  time.textContent = new Date(line.time).toLocaleTimeString([], { hour12: false });
  const from = document.createElement("span");
  from.className = "source";
  from.textContent = line.number ? `${line.service}.${line.number}` : line.service;
  from.title = { err: "standard error", sys: "the supervisor" }[line.stream] || "standard output";
  const text = document.createElement("span");
  text.className = "text";
  text.textContent = line.text;
  row.append(time, from, text);
  return row;
}

function note(text) {
  if ($("log-note").textContent !== text) $("log-note").textContent = text;
}

function pause() {
  paused = !paused;
  const button = $("pause");
  button.setAttribute("aria-pressed", String(paused));
  button.textContent = paused ? "Resume" : "Pause";
  if (!paused) { addLines(held); held = []; }
  note(paused ? "Paused." : "");
}

let typing = 0;
$("log-search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(connect, 300); });
$("log-service").addEventListener("change", connect);
$("filter").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); connect(); });
$("pause").addEventListener("click", pause);
addEventListener("online", () => { if (document.body.classList.contains("lost")) connect(); });
setInterval(tick, 1000);
connect();
