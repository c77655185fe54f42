// Keeps the page's regions as the server says they are. Without this module the page is the same, only not live.
const url = document.body.dataset.liveUrl;
const connection = document.getElementById("connection");
const pause = document.getElementById("pause");
const HIDDEN = 30_000; // a hidden tab gives its connection back after this
const SILENCE = 25_000; // the server beats every 10 s; longer silence is a dead connection
const PARKED = 5_000; // a tab that gave its connection to a newer one asks again after this
// Over HTTP/1.1 all tabs of a browser share six connections: the server then keeps some streams and parks the others.
const hop = performance.getEntriesByType("navigation")[0]?.nextHopProtocol || "http/1.1";
let stream = null, silence = 0, retry = 0, hidden = 0, wait = 1000, shown = -1, parked = false, last = Date.now();
let paused = localStorage.getItem("cloudward.paused") === "1";

const tell = (text) => { connection.textContent = text; connection.hidden = !text; };

function busy(node) {
  const selection = getSelection();
  return node.contains(document.activeElement) ||
    (selection && !selection.isCollapsed && node.contains(selection.anchorNode));
}

// Texts are written in place: focus, selection and scroll stay. Only where the shape changed is the region exchanged,
// and never under someone's hands.
const waiting = new Map(); // regions whose new shape had to wait for someone's hands

function apply({ id, html }) {
  const now = document.getElementById(id);
  const parsed = document.createElement("template");
  parsed.innerHTML = html;
  const next = parsed.content.firstElementChild;
  if (!now || !next) return;
  if (next.dataset.title) document.title = next.dataset.title;
  waiting.delete(id);
  if (now.dataset.shape !== next.dataset.shape) {
    for (const open of now.querySelectorAll("details[open][id]")) next.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
    if (!busy(now)) { now.replaceWith(next); return; }
    waiting.set(id, html);
  }
  for (const from of next.querySelectorAll("[data-live]")) {
    const to = now.querySelector(`[data-live="${CSS.escape(from.dataset.live)}"]`);
    if (!to) continue;
    if (to instanceof HTMLProgressElement) { to.max = from.max; to.value = from.value; }
    else if (to.textContent !== from.textContent) to.textContent = from.textContent;
  }
}

function alive() {
  clearTimeout(silence);
  silence = setTimeout(reopen, SILENCE);
  wait = 1000;
  last = Date.now();
  tell(paused ? "Updates are paused." : "");
}

function close() {
  clearTimeout(silence); clearTimeout(retry);
  stream?.close();
  stream = null;
}

function reopen() {
  close();
  if (paused || document.hidden) return;
  tell(`Reconnecting, as of ${new Date(last).toISOString().slice(11, 19)} UTC`);
  retry = setTimeout(open, Math.random() * wait);
  wait = Math.min(wait * 2, 30_000);
}

function open() {
  close();
  if (paused) { tell("Updates are paused."); return; }
  const more = new URLSearchParams({ hop });
  if (parked) more.set("once", "1");
  stream = new EventSource(url + (url.includes("?") ? "&" : "?") + more);
  stream.addEventListener("region", (event) => {
    alive();
    if (Number(event.lastEventId) < shown) return; // never back
    shown = Number(event.lastEventId);
    apply(JSON.parse(event.data));
  });
  stream.addEventListener("say", (event) => {
    document.getElementById("say").textContent = JSON.parse(event.data).text;
  });
  stream.addEventListener("beat", (event) => {
    alive();
    for (const [id, html] of [...waiting]) apply({ id, html });
    document.getElementById("position").textContent = Number(event.data).toLocaleString("en-US");
  });
  stream.addEventListener("park", () => { close(); parked = true; retry = setTimeout(open, PARKED); });
  stream.addEventListener("bye", ended);
  stream.onerror = () => { if (stream?.readyState === EventSource.CLOSED) refused(stream.url); };
}

function ended() {
  close();
  tell("Your session ended. Log in again; this page stays as it was.");
}

async function refused(address) { // an EventSource does not say with which status
  reopen();
  const asked = new AbortController();
  const status = await fetch(address, { signal: asked.signal }).then((answer) => answer.status, () => 0);
  asked.abort();
  if (status === 401) ended();
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) hidden = setTimeout(close, HIDDEN);
  else if (!stream || parked) { parked = false; open(); }
});
addEventListener("pageshow", () => { if (!stream) open(); });
addEventListener("online", open);
addEventListener("pagehide", close);

pause.hidden = false;
const label = () => { pause.textContent = paused ? "Go on updating" : "Pause updates"; pause.setAttribute("aria-pressed", paused); };
pause.addEventListener("click", () => {
  paused = !paused;
  localStorage.setItem("cloudward.paused", paused ? "1" : "0");
  label();
  open();
});
label();
if (!stream) open();
