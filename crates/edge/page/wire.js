// The wire: one WebSocket that comes back. PROTOCOL.md says what goes over it.

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MOST_MS = 30_000;
const OFFLINE_AFTER_MS = 3_000;
const PING_EVERY_MS = 10_000;
// An answer to a ping takes milliseconds; a phone that changes its network needs a few seconds to know.
const SILENCE_MS = 8_000;

/** Of a path beside the page. */
export const address = (path) => new URL(path, document.baseURI);

export class Wire {
  /** `heard` gets each frame with what it answers; `changed` is called when the state below does. */
  constructor(heard, changed) {
    Object.assign(this, { heard, changed, state: "connecting", failures: 0, asked: new Map(), refs: 0, since: Date.now() });
    addEventListener("online", () => this.again());
    addEventListener("offline", () => this.ping());
    document.addEventListener("visibilitychange", () => document.hidden || (this.state === "open" ? this.ping() : this.again()));
    setInterval(() => document.hidden || this.ping(), PING_EVERY_MS);
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    const url = address("v1/ws");
    url.protocol = url.protocol.replace("http", "ws");
    const socket = (this.socket = new WebSocket(url));
    socket.onopen = () => {
      this.state = "open";
      this.ping();
      this.changed();
    };
    socket.onmessage = ({ data }) => {
      this.wait(0);
      const frame = JSON.parse(data);
      const asked = this.asked.get(frame.ref);
      this.asked.delete(frame.ref);
      if (frame.op === "pong" && asked) this.ponged(asked);
      else this.heard(frame, asked);
    };
    socket.onclose = ({ code, reason }) => this.lost(code, reason);
    this.wait(SILENCE_MS);
  }

  /** Gives the socket up when nothing is heard for so long; 0 calls that off. */
  wait(silence) {
    clearTimeout(this.silence);
    this.silence = silence && setTimeout(() => this.lost(1006, ""), silence);
  }

  lost(code, reason) {
    this.wait(0);
    // A close on a dead network takes minutes, so the old socket is let go of, not waited for.
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.asked.clear();
    this.roundTrip = undefined;
    if (this.state === "open") this.since = Date.now();
    if ([1002, 1003, 1007, 1009].includes(code) || (code >= 4500 && code <= 4999)) {
      this.state = "closed";
      this.reason = `${code}${reason ? ` ${reason}` : ""}`;
    } else {
      this.state = "connecting";
      const most = Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** this.failures);
      this.failures += 1;
      this.timer = setTimeout(() => this.connect(), Math.random() * most);
      setTimeout(this.changed, OFFLINE_AFTER_MS + 10);
    }
    this.changed();
  }

  /** A person or the browser has reason to think that it works now. */
  again(asked = false) {
    if (this.state === "open" || (this.state === "closed" && !asked) || this.socket.readyState === WebSocket.CONNECTING) return;
    this.state = "connecting";
    this.connect();
    this.changed();
  }

  offline() {
    return this.state === "closed" || (this.state === "connecting" && Date.now() - this.since >= OFFLINE_AFTER_MS);
  }

  ping() {
    if (this.send({ op: "ping" }, { at: performance.now() })) this.wait(SILENCE_MS);
  }

  ponged({ at }) {
    // Only an answer proves that it works: a server that accepts and drops must not be asked in a tight loop.
    this.failures = 0;
    this.roundTrip = performance.now() - at;
    this.changed();
  }

  /** Sends a frame; `asked` comes back with its answer. */
  send(frame, asked) {
    if (this.state !== "open") return false;
    const ref = String(++this.refs);
    this.asked.set(ref, asked);
    this.socket.send(JSON.stringify({ ...frame, ref }));
    return true;
  }
}
