// A TCP proxy that a test cuts, stalls and shuts.
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

export class Proxy {
  /** Bytes from the server that went through since the last cut. */
  passed = 0;
  connections = 0;
  readonly #server: Server;
  readonly #pairs = new Set<[Socket, Socket]>();
  readonly #target: URL;
  #cutAfter = Infinity;
  #stalled = false;
  /** Answers a request for an upgrade as a proxy does that has never heard of WebSockets. */
  refuseUpgrades = false;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((near) => this.#join(near));
  }

  static async before(target: string): Promise<Proxy> {
    const proxy = new Proxy(target);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Cuts all once so many more bytes have come from the server. */
  cutAfter(bytes: number): void {
    this.passed = 0;
    this.#cutAfter = bytes;
  }

  cut(): void {
    this.#cutAfter = Infinity;
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    this.#pairs.clear();
  }

  /** Nothing goes through any more on what is open, and nobody is told: a half-open connection. */
  stall(): void {
    this.#stalled = true;
  }

  flow(): void {
    this.#stalled = false;
  }

  #join(near: Socket): void {
    this.connections += 1;
    const far = connect(Number(this.#target.port), this.#target.hostname);
    const pair: [Socket, Socket] = [near, far];
    this.#pairs.add(pair);
    const end = () => {
      near.destroy();
      far.destroy();
      this.#pairs.delete(pair);
    };
    for (const socket of pair) socket.on("error", end).on("close", end);
    near.on("data", (data) => {
      if (this.#stalled) return;
      if (this.refuseUpgrades && /\r\nupgrade: websocket/i.test(data.toString("latin1"))) {
        near.end("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
      }
      far.write(data);
    });
    far.on("data", (data) => {
      if (this.#stalled) return;
      this.passed += data.length;
      near.write(data);
      if (this.passed >= this.#cutAfter) this.cut();
    });
  }

  async end(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}
