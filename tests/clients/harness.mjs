// What the tests of other people's clients share: counting, waiting for what is to come, and a wire that can be cut.
import net from "node:net";

// The longest wait for anything: a busy machine of two cores.
const PATIENCE_MS = 60_000;
// Letters of an error that are shown.
const MAX_TOLD = 2_000;

export const base = process.argv[2].replace(/\/$/, "");

/** Runs tests one after another, and counts them under the client's name. */
export function suite(client) {
  const counts = { passed: 0, failed: 0 };
  return {
    async test(name, body) {
      try {
        await body();
        counts.passed += 1;
        console.log(`ok      ${client}: ${name}`);
      } catch (error) {
        counts.failed += 1;
        // Not all of it: an answer that is compared may be long.
        console.log(`FAILED  ${client}: ${name}\n${(error.stack ?? JSON.stringify(error)).slice(0, MAX_TOLD)}`);
      }
    },
    end() {
      console.log(`${client}: ${counts.passed} passed, ${counts.failed} failed`);
      process.exit(counts.failed > 0 ? 1 : 0);
    },
  };
}

/** Waits until something holds, and gives it back. */
export async function until(what, holds) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export const json = async (path, options) => (await fetch(`${base}${path}`, options)).json();

/** The text that a task's log amounts to, once it has ended. */
export const logged = async (task) => (await fetch(`${base}/v1/tasks/${task}/text?wait_ms=30000`)).text();

/** A task as the server sees it. */
export const task = (id) => json(`/v1/tasks/${id}?input=true`);

/** What the scripted backend says: see its documentation. */
export const words = (tokens) => Array.from({ length: tokens }, (_, k) => `w${k}${k % 8 === 7 ? "-é漢🙂…" : ""} `).join("");

/** A wire to the server that can be cut: all its connections at once, and while it is down no other one is made. */
export async function wire() {
  const { hostname, port } = new URL(base);
  const open = new Set();
  let down = false;
  const server = net.createServer((near) => {
    if (down) return near.destroy();
    const far = net.connect(Number(port), hostname);
    for (const [one, other] of [[near, far], [far, near]]) {
      open.add(one);
      one.on("error", () => {}).on("close", () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut() {
      for (const socket of open) socket.destroy();
    },
    down(value) {
      down = value;
      if (value) this.cut();
    },
  };
}
