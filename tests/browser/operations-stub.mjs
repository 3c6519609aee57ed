// Stands between the page and a real server: tells made-up figures at /v1/operations, as a test says, and can cut or refuse
// the stream; everything else goes through.
import http from "node:http";
import net from "node:net";

/** `answers` may give a path (with its query) an answer of its own. */
export async function operationsStub(target, snapshot, answers = {}) {
  const to = new URL(target);
  const state = { snapshot, refuse: undefined, asked: [], streams: new Set() };
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, target);
    state.asked.push(`${request.method} ${request.url}`);
    if (pathname === "/v1/operations") return operations(state, request, response);
    const own = answers[pathname];
    if (own) return json(response, 200, own(new URL(request.url, target)));
    const onward = http.request({ host: to.hostname, port: to.port, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  // A socket that was upgraded is the server's no more: it is closed here.
  const sockets = new Set();
  server.on("upgrade", (request, socket, head) => {
    sockets.add(socket);
    const onward = net.connect(Number(to.port), to.hostname, () => {
      onward.write(`${request.method} ${request.url} HTTP/1.1\r\n${Object.entries(request.headers).map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`);
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    for (const [one, other] of [[socket, onward], [onward, socket]]) one.on("error", () => other.destroy()).on("close", () => other.destroy());
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const write = (stream, event, data) => stream.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    asked: state.asked,
    streams: () => state.streams.size,
    /** Tells all who follow. A changed section is in the next snapshot too. */
    send(event, data) {
      if (event === "update") Object.assign(state.snapshot, data);
      for (const stream of state.streams) write(stream, event, data);
    },
    cut() {
      for (const stream of state.streams) stream.destroy();
    },
    /** Answers with this status and error from now on; `undefined` opens again. */
    refuse(status, error) {
      state.refuse = status && { status, error };
    },
    end() {
      server.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      return new Promise((done) => server.close(done));
    },
  };
}

function operations(state, request, response) {
  if (state.refuse) return json(response, state.refuse.status, { error: state.refuse.error });
  if (!request.headers.accept?.includes("text/event-stream")) return json(response, 200, state.snapshot);
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  response.write(`event: snapshot\ndata: ${JSON.stringify(state.snapshot)}\n\n`);
  state.streams.add(response);
  response.on("close", () => state.streams.delete(response));
}

function json(response, status, body) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}
