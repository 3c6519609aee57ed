// The chat page: each message becomes a task, each answer is that task's log, and one WebSocket carries them all.
// A turn is a message and its answer. PROTOCOL.md says what goes over the wire.

import { Prose, element, inline } from "./prose.js";
import { Wire, address } from "./wire.js";

const SUGGESTION = "Why is the sea salty?";
// A reload follows every turn at once, and a server lets a connection follow 256 logs.
const MAX_TURNS = 200;
const SAVE_EVERY_MS = 500;
// Right after a reader's step up, a step of our own may still be on its way down: it does not take hold again.
const LET_GO_MS = 300;
// A hidden page gets no animation frames.
const HIDDEN_PAINT_MS = 500;

const $ = (id) => document.getElementById(id);
// Not crypto.randomUUID: pages that came over plain HTTP from another machine do not have it.
const random = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// ---- Turns: what each event does to an answer ----

const ENDED = new Set(["done", "failed", "stopped", "expired"]);
const KEPT = ["id", "key", "prompt", "body", "sentAt", "task", "epoch", "last", "state", "place", "firstTokenMs", "stopping", "error"];

class Turn {
  constructor(kept) {
    this.view = new View(this);
    this.begin(kept);
  }

  begin(kept) {
    for (const name of KEPT) this[name] = kept[name];
    Object.assign(this, { elsewhere: kept.elsewhere, notes: [], end: undefined, asked: undefined, live: false, tail: undefined });
    this.clear();
    touch(this);
  }

  /** Forgets the log's events, to read them from the start. */
  clear() {
    Object.assign(this, { next: 0, text: "", reasoning: "", places: [], firstAt: undefined });
    this.view.clear();
  }

  get ended() { return ENDED.has(this.state); }

  toJSON() { return Object.fromEntries(KEPT.map((name) => [name, this[name]])); }

  fail(error) {
    Object.assign(this, { state: "failed", error, body: undefined, place: undefined, stopping: undefined });
    say(`Failed: ${error.message}`);
  }

  /** The offset up to which the text is as long as it is now: where a rewind cuts. */
  piece(event) {
    this.places.push({ offset: event.offset, text: this.text.length, reasoning: this.reasoning.length });
  }
}

const EVENTS = {
  started(turn) {
    // An ended task's log is only read again.
    if (turn.ended) return;
    if (turn.state !== "running" && turn.live) say("The answer begins.");
    Object.assign(turn, { state: "running", place: undefined });
  },
  text(turn, data, event) {
    turn.piece(event);
    turn.text += data;
    turn.firstAt ??= event.at;
    // Known only where this page saw it come: the server's clock is not this one's.
    if (turn.live) turn.firstTokenMs ??= Date.now() - turn.sentAt;
  },
  reasoning(turn, data, event) {
    turn.piece(event);
    turn.reasoning += data;
  },
  rewind(turn, { to }) {
    const from = turn.places.findIndex((place) => place.offset >= to);
    if (from < 0) return;
    turn.text = turn.text.slice(0, turn.places[from].text);
    turn.reasoning = turn.reasoning.slice(0, turn.places[from].reasoning);
    turn.places.length = from;
    turn.view.clear();
  },
  retry(turn, { attempt, message, after_ms }) {
    turn.notes.push(`Attempt ${attempt} failed: ${message.replace(/\.$/, "")}. Another follows${after_ms ? ` in ${time(after_ms)}` : ""}.`);
  },
  delayed(turn, { place, wait_ms: wait }) { Object.assign(turn, { place, wait }); },
  snapshot(turn, data) { turn.text = typeof data?.text === "string" ? data.text : ""; },
  erased(turn) { turn.notes = ["Part of this was erased at a person's request."]; },
  end(turn, data, event) {
    const was = turn.ended;
    Object.assign(turn, { state: data.state, end: { ...data, at: event.at }, place: undefined, stopping: undefined });
    if (data.state === "failed") turn.error = data.error ?? { code: "internal", message: "The task failed and the server gave no cause." };
    if (!was) say(data.state === "done" ? "The answer is complete." : data.state === "stopped" ? "Stopped." : `Failed: ${turn.error.message}`);
  },
};

// ---- The view of a turn ----

const time = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
const sentence = (text) => text[0].toUpperCase() + text.slice(1);

function stateWords({ state, place, wait }) {
  if (state === "sending") return wire.state === "open" ? "Sending" : "Waits for the connection";
  if (state !== "queued" || place === undefined) return sentence(state);
  const about = wait >= 1000 ? `, about ${time(wait)}` : "";
  return (place === 0 ? "Queued, next in line" : `Queued, ${place} ahead of you`) + about;
}

function figures({ firstTokenMs, firstAt, end }) {
  const shown = [];
  if (firstTokenMs !== undefined) shown.push(`first token ${time(firstTokenMs)}`);
  const { input_tokens: input, output_tokens: output, estimated } = end?.usage ?? {};
  if (output && end.at > firstAt) shown.push(`${((output * 1000) / (end.at - firstAt)).toFixed(1)} tokens/s`);
  if (output !== undefined) shown.push(`tokens: ${estimated ? "about " : ""}${input ?? "?"} in, ${output} out`);
  if (end?.attempts > 1) shown.push(`${end.attempts} attempts`);
  if (end?.finish_reason === "length") shown.push("cut at the length limit");
  return shown;
}

class View {
  constructor(turn) {
    const button = (text, does, className = "quiet small") => element("button", { type: "button", className, onclick: does }, text);
    this.ask = element("p", { className: "ask" });
    this.state = element("span", { className: "state number" });
    this.copy = button("Copy", () => copy(turn.text, this.copy));
    this.stop = button("Stop", () => stop(turn), "small");
    this.thought = element("div");
    this.thinking = element("details", {}, element("summary", {}, "Reasoning"), this.thought);
    this.text = element("div", { className: "text" });
    this.notes = element("div");
    this.cause = element("p");
    this.retry = button("Retry", () => retry(turn), "small");
    this.alone = button("Retry without the earlier messages", () => retry(turn, true), "small");
    this.fault = element("div", { className: "fault" }, this.cause,
      element("div", { className: "acts" }, this.retry, this.alone, button("Edit", () => edit(turn), "small")));
    this.figures = element("div", { className: "figures number" });
    this.root = element("article", { className: "turn" }, element("span", { className: "unseen" }, "You:"), this.ask,
      element("div", { className: "tide" }),
      element("div", { className: "head" }, element("span", { className: "unseen" }, "Answer:"), this.state,
        element("div", { className: "acts" }, this.copy, this.stop)),
      this.thinking, this.text, this.notes, this.fault, this.figures);
    this.prose = new Prose(this.text);
  }

  clear() { this.prose.clear(); }

  paint(turn) {
    const { root } = this;
    root.dataset.state = this.state.dataset.state = turn.state;
    root.dataset.task = turn.task ?? "";
    root.classList.toggle("skeleton", turn.ended && turn.task !== undefined && !turn.end && !turn.text && turn.state !== "expired");
    put(this.ask, turn.prompt);
    put(this.state, stateWords(turn));
    this.copy.hidden = !turn.ended || !turn.text || !navigator.clipboard;
    this.stop.hidden = turn.ended;
    this.stop.disabled = Boolean(turn.stopping);
    put(this.stop, turn.stopping ? "Stopping" : "Stop");
    this.thinking.hidden = !turn.reasoning;
    put(this.thought, turn.reasoning);
    this.prose.paint(turn.text);
    if (this.notes.childNodes.length !== turn.notes.length) {
      this.notes.replaceChildren(...turn.notes.map((note) => element("p", { className: "note" }, note)));
    }
    this.paintFault(turn);
    const shown = figures(turn).map((text) => element("span", {}, text));
    if (turn.task) shown.push(element("a", { className: "id", href: address(`v1/tasks/${turn.task}`), target: "_blank" }, turn.task));
    if (this.figures.textContent !== shown.map((node) => node.textContent).join("")) this.figures.replaceChildren(...shown);
  }

  paintFault({ state, error }) {
    this.fault.hidden = state !== "failed" && state !== "expired";
    if (this.fault.hidden) return;
    const cause = state === "expired" ? "The server has no log of this answer any more. Your message is kept." : error.message || "No cause is given";
    this.cause.replaceChildren();
    inline(this.cause, sentence(error?.code ? `${cause} (${error.code})` : cause));
    this.alone.hidden = !["context_too_long", "too_large"].includes(error?.code);
  }
}

// ---- The conversation, and where it is kept ----

const memory = {
  read(name) { try { return JSON.parse(localStorage.getItem(`tidewire.${name}`)); } catch { return null; } },
  // Full or forbidden storage costs the resume after a reload, not the conversation on the screen.
  write(name, value) { try { localStorage.setItem(`tidewire.${name}`, JSON.stringify(value)); } catch { /* see above */ } },
};

let chat = { id: random(), turns: [] };
let savedAt = 0;

function save() {
  savedAt = Date.now();
  // Another tab began a new chat; the event that says so is on its way.
  if ((memory.read("chat")?.id ?? chat.id) === chat.id) memory.write("chat", chat);
}

function show(kept) {
  for (const turn of chat.turns) {
    if (turn.task && !turn.end) wire.send({ op: "unfollow", log: turn.task });
    turn.view.root.remove();
  }
  chat = { id: kept.id, turns: [] };
  kept.turns.forEach(add);
  touch();
}

function add(kept) {
  const turn = new Turn(kept);
  chat.turns.push(turn);
  $("turns").append(turn.view.root);
  while (chat.turns.length > MAX_TURNS) chat.turns.shift().view.root.remove();
  resume(turn);
  return turn;
}

/** Takes what another tab did. */
function merge(kept) {
  if (kept.id !== chat.id) return show(kept);
  for (const theirs of kept.turns) {
    const mine = chat.turns.find((turn) => turn.id === theirs.id);
    if (!mine) add({ ...theirs, elsewhere: true });
    else if (theirs.sentAt > mine.sentAt || (!mine.task && theirs.task)) {
      mine.begin(theirs);
      resume(mine);
    }
  }
}

// ---- What a person does ----

function messages(prompt, before) {
  const told = before.filter((turn) => turn.state === "done" && turn.text);
  const said = told.flatMap((turn) => [{ role: "user", content: turn.prompt }, { role: "assistant", content: turn.text }]);
  return [...said, { role: "user", content: prompt }];
}

function begun(id, prompt, before) {
  const key = random();
  const model = $("model").value || undefined;
  // Kept until the ack, so that a second send has the same key and the same body.
  const body = { model, input: { messages: messages(prompt, before) }, idempotency_key: key };
  return { id, key, prompt, body, sentAt: Date.now(), state: "sending" };
}

function send(prompt) {
  add(begun(random(), prompt, chat.turns));
  save();
  toLatest();
}

function retry(turn, alone = false) {
  turn.begin(begun(turn.id, turn.prompt, alone ? [] : chat.turns.slice(0, chat.turns.indexOf(turn))));
  resume(turn);
  save();
  $("prompt").focus(); // The button is gone.
}

function edit(turn) {
  const draft = $("prompt").value.trim();
  write(draft ? `${turn.prompt}\n\n${draft}` : turn.prompt);
  $("prompt").focus();
}

function stop(turn) {
  turn.stopping = true;
  // Without an ack there is no task to name yet: the ack's coming sends it.
  if (turn.task) wire.send({ op: "stop", task: turn.task }, { op: "stop", turn });
  touch(turn);
}

function write(text) {
  const prompt = $("prompt");
  prompt.value = text;
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight + 2}px`;
  $("send").disabled = !text.trim();
  memory.write("draft", text);
}

async function copy(text, button) {
  const was = button.textContent;
  await navigator.clipboard.writeText(text);
  put(button, "Copied");
  setTimeout(() => put(button, was), 1500);
}

// ---- What goes over the wire, and what comes ----

function resume(turn) {
  if (turn.end || turn.state === "expired") return;
  if (turn.task) follow(turn);
  // What another tab is sending, this one only waits for.
  else if (turn.body && !turn.ended && !turn.elsewhere) wire.send({ op: "submit", task: turn.body }, { op: "submit", turn });
}

function follow(turn) {
  const after = turn.next > 0 ? { after: turn.next - 1, epoch: turn.epoch } : {};
  // Until its answer comes, events are of the cursor before it.
  turn.asked = { op: "follow", turn };
  wire.send({ op: "follow", log: turn.task, ...after }, turn.asked);
  if (turn.stopping) stop(turn);
}

const FRAMES = {
  ack(frame, { turn }) {
    const { task, epoch, place, wait_ms: wait } = frame;
    Object.assign(turn, { task, epoch, place, wait, body: undefined, asked: undefined, live: !frame.known });
    if (!turn.ended) turn.state = frame.state === "running" ? "running" : "queued";
    if (turn.stopping) stop(turn);
    save();
    touch(turn);
  },
  following({ epoch, tail }, { turn }) {
    if (turn.next === 0 && turn.epoch !== undefined && (epoch !== turn.epoch || tail <= turn.last)) {
      turn.notes.push("The server's log changed since you last saw it. This is its text now.");
    }
    Object.assign(turn, { epoch, tail, asked: undefined, last: undefined });
    touch(turn);
  },
  events({ log, epoch, from, to, events }) {
    const turn = chat.turns.find((turn) => turn.task === log);
    if (!turn || turn.asked || turn.end) return;
    const begins = turn.next === 0 && events[0]?.type === "snapshot";
    if (epoch !== turn.epoch || (from !== turn.next && !begins)) return follow(turn);
    for (const event of events) {
      // Past the tail at the time of the follow: it happens now, and was not read again.
      turn.live ||= event.offset >= (turn.tail ?? Infinity);
      EVENTS[event.type]?.(turn, event.data, event);
    }
    turn.next = to;
    turn.last = to - 1;
    touch(turn);
  },
  waiting({ task, place, wait_ms: wait }) {
    const turn = chat.turns.find((turn) => turn.task === task);
    if (turn?.state !== "queued") return;
    Object.assign(turn, { place, wait });
    touch(turn);
  },
  unfollowed({ log, reason }) {
    const turn = chat.turns.find((turn) => turn.task === log);
    if (!turn || turn.asked || turn.end || reason === "asked") return;
    if (reason === "gone") turn.state = "expired";
    else if (reason === "ended") follow(turn);
    else turn.fail({ code: reason, message: "The server can't read this answer's log." });
    touch(turn);
  },
  error({ error }, asked) {
    const turn = asked?.turn;
    if (!turn) return say(error.message);
    const { code } = error;
    if (code === "unknown_log" || code === "unknown_task") turn.state = "expired";
    // The socket closes next; all of it is asked again on the one after it.
    else if (code === "shutting_down") return;
    else if (["offset_in_future", "epoch_changed", "trimmed"].includes(code) && turn.next > 0) {
      turn.clear();
      follow(turn);
    } else if (asked.op !== "stop") turn.fail(error);
    else turn.stopping = undefined;
    touch(turn);
    save();
  },
};

const wire = new Wire((frame, asked) => {
  // An answer whose question went down with the socket before it, or a frame of a later server.
  if (!FRAMES[frame.op] || (["ack", "following"].includes(frame.op) && !asked)) return;
  if (frame.op === "following" && asked.turn.asked !== asked) return;
  FRAMES[frame.op](frame, asked);
}, () => {
  if (wire.state === "open" && !wire.greeted) {
    chat.turns.forEach(resume);
    greet();
  }
  wire.greeted = wire.state === "open";
  touch();
});

/** What the page asks once a connection: the models there are, and the server's own state. */
async function greet() {
  try {
    const [models, ready] = await Promise.all(["v1/models", "readyz"].map((path) => fetch(address(path)).then((answer) => answer.json())));
    const names = (models.data ?? []).map(({ id }) => id);
    const chosen = $("model").value || memory.read("model");
    $("model").replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
    $("pick").hidden = names.length === 0;
    put($("version"), ready.ready ? `${ready.version} · ${ready.engine}, ${ready.durability}` : `Not ready: ${ready.reason}`);
    $("version").classList.toggle("warn", !ready.ready);
    wire.ping(); // The first round trip measured a page that was busy beginning.
  } catch { /* The next connection asks again. */ }
}

// ---- The screen: at most one update a frame ----

const dirty = new Set();
let due = false;
let pinned = true;
let lastTop = 0;

function touch(turn) {
  if (turn) dirty.add(turn);
  if (due) return;
  due = true;
  if (document.hidden) setTimeout(paint, HIDDEN_PAINT_MS);
  else requestAnimationFrame(paint);
}

function paint() {
  if (!due) return;
  due = false;
  for (const turn of dirty) if (chat.turns.includes(turn)) turn.view.paint(turn);
  dirty.clear();
  paintAround();
  if (pinned) {
    $("scroll").scrollTop = $("scroll").scrollHeight;
    // Known at once, so that its scroll event is not taken for a reader's step.
    lastTop = $("scroll").scrollTop;
  }
  if (Date.now() - savedAt >= SAVE_EVERY_MS) save();
}

function paintAround() {
  const offline = wire.offline();
  const [was, is] = [$("link").dataset.state, wire.state === "connecting" && offline ? "offline" : wire.state];
  $("link").dataset.state = is;
  put($("link"), { open: "Connected", connecting: wire.failures ? "Reconnecting" : "Connecting", offline: "Offline", closed: "Closed" }[is]);
  if (was !== is && is === "offline") say("Offline.");
  if (was === "offline" && is === "open") say("Connected again.");
  $("offline").hidden = !offline;
  put($("offline-text"), wire.state === "closed" ? `The server closed the connection: ${wire.reason}.` : "Offline. What you send waits here.");
  put($("again"), wire.state === "closed" ? "Connect again" : "Try now");
  put($("trip"), wire.roundTrip === undefined ? "" : `${Math.max(1, Math.round(wire.roundTrip))} ms`);
  const count = (state) => chat.turns.filter((turn) => turn.state === state).length;
  put($("work"), [[count("running"), "running"], [count("queued"), "queued"]].filter(([n]) => n).map((pair) => pair.join(" ")).join(", "));
  for (const turn of chat.turns) if (turn.state === "sending") put(turn.view.state, stateWords(turn));
  document.body.classList.toggle("cut", wire.state !== "open");
  $("empty").hidden = chat.turns.length > 0;
  $("new").hidden = chat.turns.length === 0;
  $("back").hidden = !memory.read("previous")?.turns.length;
  $("latest").hidden = pinned;
}

/** Tells a screen reader. The conversation itself is silent: nobody wants it token by token. */
function say(text) { put($("status"), text); }

let letGoAt = 0;

function letGo() {
  if ($("scroll").scrollTop > 0) pinned = false;
  letGoAt = Date.now();
  touch();
}

function toLatest() {
  pinned = true;
  touch();
}

// ---- Beginning ----

$("suggest").textContent = SUGGESTION;
$("curl").textContent = `curl ${address("v1/tasks")} -d '{"prompt":"${SUGGESTION}"}'`;
$("copy-curl").hidden = !navigator.clipboard;
$("copy-curl").onclick = () => copy($("curl").textContent, $("copy-curl"));
$("suggest").onclick = () => { send(SUGGESTION); $("prompt").focus(); };
$("latest").onclick = toLatest;
$("again").onclick = () => wire.again(true);
$("model").onchange = () => memory.write("model", $("model").value);
$("new").onclick = () => {
  memory.write("previous", chat);
  memory.write("chat", { id: random(), turns: [] });
  show(memory.read("chat") ?? { id: random(), turns: [] });
  $("prompt").focus();
};
$("back").onclick = () => {
  memory.write("chat", memory.read("previous"));
  memory.write("previous", null);
  show(memory.read("chat"));
};
$("form").onsubmit = (event) => {
  event.preventDefault();
  const text = $("prompt").value;
  if (!text.trim()) return;
  write("");
  send(text);
};
$("prompt").oninput = () => write($("prompt").value);
$("prompt").onkeydown = (event) => {
  // Enter also ends the input of a Chinese or Japanese word; that one sends nothing.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("form").requestSubmit();
};
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  const live = chat.turns.filter((turn) => !turn.ended && !turn.stopping);
  const turn = live.find((turn) => turn.view.root.contains(document.activeElement)) ?? live.at(-1);
  if (turn) stop(turn);
});
$("scroll").onscroll = () => {
  const { scrollTop, scrollHeight, clientHeight } = $("scroll");
  // Any step up lets go, so that nobody is dragged back down; only a step down to the very end takes hold again.
  const atEnd = scrollHeight - scrollTop - clientHeight <= 4;
  if (scrollTop < lastTop && !atEnd) letGo();
  if (scrollTop > lastTop && atEnd && Date.now() - letGoAt > LET_GO_MS) toLatest();
  lastTop = scrollTop;
};
// The wish counts, not only its effect: following an answer that grows at each frame would undo the first step up.
let touchedAt = 0;
$("scroll").onwheel = ({ deltaY }) => { if (deltaY < 0) letGo(); };
$("scroll").ontouchstart = ({ touches }) => { touchedAt = touches[0].clientY; };
$("scroll").ontouchmove = ({ touches }) => { if (touches[0].clientY > touchedAt) letGo(); };
$("scroll").onkeydown = ({ key }) => { if (["ArrowUp", "PageUp", "Home"].includes(key)) letGo(); };
new ResizeObserver(() => touch()).observe($("scroll"));
document.addEventListener("visibilitychange", () => document.hidden ? save() : paint());
addEventListener("pagehide", save);
addEventListener("storage", ({ key, newValue }) => { if (key === "tidewire.chat" && newValue) merge(JSON.parse(newValue)); });

show(memory.read("chat") ?? chat);
write(memory.read("draft") ?? "");
$("prompt").focus();
