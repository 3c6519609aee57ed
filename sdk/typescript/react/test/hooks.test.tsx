// The hooks: one commit a frame however many logs moved, no tearing, and nothing followed that nobody shows.
import type { Client, Snapshot } from "@tidewire/client";
import { act, Profiler, startTransition, StrictMode, useLayoutEffect, useState, type ReactNode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TidewireProvider, useBatch, useStatus, useTask, useTasks, useTidewire } from "@tidewire/react";
import { World } from "../../client/test/unit/world.js";

(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;

let world: World;
let client: Client;
let root: Root;
let page: HTMLElement;

beforeEach(() => {
  world = new World();
  client = world.connect();
  page = document.createElement("main");
  root = createRoot(page);
});
afterEach(() => {
  act(() => root.unmount());
  client.close();
});

const show = (children: ReactNode) =>
  act(() => root.render(<TidewireProvider client={client}>{children}</TidewireProvider>));

/** The next text of a log arrives. */
const say = (id: string, data: string) => {
  const log = world.logs.get(id) ?? { epoch: 1, events: [] };
  world.logs.set(id, log);
  const offset = log.events.length;
  const event = { offset, type: "text", at: 1, data };
  log.events.push(event);
  world.socket.queue.push({ op: "events", log: id, epoch: 1, from: offset, to: offset + 1, events: [event] });
};

const paint = () => act(() => world.clock.paint());
const open = async (...ids: string[]) => {
  for (const id of ids) world.logs.set(id, { epoch: 1, events: [] });
  await act(() => world.open());
  await world.flow();
};

function Answer({ id }: { id: string }) {
  return <p>{useTask(id).text}</p>;
}

test("a component shows the text as of the last frame", async () => {
  await open("task_a");
  await show(<Answer id="task_a" />);
  await world.flow();
  say("task_a", "Hel");
  say("task_a", "lo");
  await world.flow();
  expect(page.innerHTML).toBe("<p></p>");
  await paint();
  expect(page.innerHTML).toBe("<p>Hello</p>");
});

test("a hundred logs that move in one frame are one commit", async () => {
  const ids = Array.from({ length: 100 }, (_, n) => `task_${n}`);
  await open(...ids);
  let commits = 0;
  await show(
    <Profiler id="all" onRender={() => (commits += 1)}>
      {ids.map((id) => (
        <Answer key={id} id={id} />
      ))}
    </Profiler>,
  );
  await world.flow();
  await paint();
  commits = 0;
  for (const word of ["a", "b", "c"]) for (const id of ids) say(id, word);
  await world.flow();
  await paint();
  expect(commits).toBe(1);
  expect(page.textContent).toBe("abc".repeat(100));
});

test("components that show one task never differ, also where a slow render is overtaken", async () => {
  await open("task_a");
  // React says of it what the test does on purpose: a store that changes in the middle of a render.
  const warned = vi.spyOn(console, "error").mockImplementation(() => {});
  let go = (_: boolean) => {};
  const torn: string[][] = [];
  function Many() {
    const [many, setMany] = useState(false);
    go = setMany;
    useLayoutEffect(() => {
      const texts = [...page.querySelectorAll("p")].map(({ textContent }) => textContent);
      if (new Set(texts).size > 1) torn.push(texts);
    });
    return Array.from({ length: many ? 200 : 2 }, (_, n) => <Slow key={n} n={n} />);
  }
  function Slow({ n }: { n: number }) {
    const { text } = useTask("task_a");
    // In the middle of the render, the next frame comes.
    if (n === 100 && !text.endsWith("!")) world.clock.paint();
    return <p>{text}</p>;
  }
  await show(<Many />);
  await world.flow();
  say("task_a", "one");
  await world.flow();
  await paint();
  say("task_a", " two!");
  await world.flow();
  await act(() => startTransition(() => go(true)));
  await paint();
  expect(page.querySelectorAll("p")).toHaveLength(200);
  expect(page.textContent).toBe("one two!".repeat(200));
  expect(torn).toEqual([]);
  expect(warned).toHaveBeenCalledTimes(1);
  warned.mockRestore();
});

test("what is shown no more is unfollowed, and strict mode follows but once", async () => {
  await open("task_a", "task_b");
  await show(
    <StrictMode>
      <Answer id="task_a" />
    </StrictMode>,
  );
  const ops = () => world.socket.heard.filter(({ op }) => op !== "ping").map(({ op, log }) => `${op} ${log}`);
  expect(ops()).toEqual(["follow task_a"]);
  await show(<Answer id="task_b" />);
  await world.clock.advance(2_500);
  expect(ops()).toEqual(["follow task_a", "follow task_b", "unfollow task_a"]);
  await show(null);
  await world.clock.advance(2_500);
  expect(ops().at(-1)).toBe("unfollow task_b");
});

test("a row keeps its component and its key from the click to the end", async () => {
  await open();
  const mounts: string[] = [];
  function Row({ task }: { task: ReturnType<Client["send"]> }) {
    const { status, id, text, key } = useTask(task);
    useState(() => mounts.push(key));
    return <p>{`${status} ${id} ${text}`}</p>;
  }
  const task = client.send({ input: "hi" });
  await show(<Row key={task.key} task={task} />);
  expect(page.textContent).toBe("sending  ");
  await world.flow();
  await paint();
  expect(page.textContent).toBe("queued task_0 ");
  world.socket.queue.push({
    op: "events",
    log: "task_0",
    epoch: 7,
    from: 0,
    to: 2,
    events: [
      { offset: 0, type: "text", at: 1, data: "yes" },
      { offset: 1, type: "end", at: 1, data: { state: "done" } },
    ],
  });
  await world.flow();
  await paint();
  expect(page.textContent).toBe("done task_0 yes");
  expect(mounts).toHaveLength(1);
});

test("useTasks gives the same list until one of them changes, and follows what is added", async () => {
  await open("task_a", "task_b");
  const lists: (readonly Snapshot[])[] = [];
  let add = (_: string[]) => {};
  let again = (_: number) => {};
  function List() {
    const [ids, setIds] = useState(["task_a"]);
    again = useState(0)[1];
    add = setIds;
    // Another array each time.
    const list = useTasks([...ids]);
    lists.push(list);
    return list.map(({ id, text }) => <p key={id}>{text}</p>);
  }
  await show(<List />);
  await world.flow();
  act(() => again(1));
  expect(lists.at(-1)).toBe(lists.at(-2));
  await act(() => add(["task_a", "task_b"]));
  await world.flow();
  say("task_b", "b");
  await world.flow();
  await paint();
  expect(page.innerHTML).toBe("<p></p><p>b</p>");
});

test("a batch, the connection and nothing at all can be shown", async () => {
  await open();
  world.logs.set("log_x", {
    epoch: 1,
    events: [
      { offset: 0, type: "batch", at: 1, data: { tasks: ["task_a", "task_b"] } },
      {
        offset: 1,
        type: "progress",
        at: 1,
        data: { task: "task_a", index: 0, state: "done", done: 1, failed: 0, stopped: 0, total: 2 },
      },
    ],
  });
  function Page() {
    const batch = useBatch("log_x");
    const nothing = useTask(null);
    return <p>{`${batch.done} of ${batch.total} ${batch.tasks[0]?.status} ${nothing} ${useStatus().state}`}</p>;
  }
  await show(<Page />);
  await world.flow();
  await paint();
  expect(page.textContent).toBe("1 of 2 done null open");
});

test("a hook without a provider says what is missing, and a server can render", () => {
  const Lost = () => <p>{String(useTidewire())}</p>;
  expect(() => renderToString(<Lost />)).toThrow(/TidewireProvider/);
  const page = renderToString(
    <TidewireProvider client={client}>
      <Answer id="task_a" />
    </TidewireProvider>,
  );
  expect(page).toBe("<p></p>");
});
