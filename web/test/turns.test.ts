// Threads from tasks: what is kept of a turn comes back as it was, and branches are found.
import { describe, expect, it } from "vitest";
import { confidence } from "../src/parts/Confidence";
import {
  branches,
  headings,
  laneOf,
  lineage,
  metadata,
  pathOf,
  promptOf,
  titleOf,
  turnOf,
  type Step,
  type Turn,
} from "../src/chat/turns";

const turn = (id: string, after?: string, sentAt = 0): Turn => ({
  id,
  thread: "t",
  after,
  prompt: `ask ${id}`,
  sentAt,
  state: "sent",
});
const task = (more: object) => ({
  id: "task_1",
  state: "done" as const,
  model: "m",
  submitted_at: 7,
  attempts: 1,
  ...more,
});

const ids = (path: Step[]) => path.map(({ turn }) => turn.id);
const lane = (name: string, at: number, title?: string) => ({
  ...{ lane: name, tasks: 1, last_task: "task_1", last_at: at, state: "done" },
  ...(title ? { title } : {}),
});

describe("what a task keeps of its turn", () => {
  it("gives the turn back", () => {
    const sent = { ...turn("b", "a"), prompt: "Why?\nSecond line" };
    const back = turnOf(task({ metadata: metadata(sent, "Why?"), lane: "t" }), "t");
    expect(back).toMatchObject({ id: "b", after: "a", prompt: sent.prompt, cut: false, task: "task_1", state: "sent" });
  });

  it.each(["x".repeat(50_000), "漢🙂".repeat(20_000), '\u0001"\\'.repeat(9_000)])(
    "fits into 4 KiB however long the prompt is",
    (prompt) => {
      const kept = metadata({ ...turn("b"), prompt }, titleOf(prompt));
      expect(new TextEncoder().encode(JSON.stringify(kept)).length).toBeLessThan(4_096);
      expect(kept.cut).toBe(true);
    },
  );

  it("takes a task of another program for the next turn of its lane", () => {
    expect(turnOf(task({ lane: "t" }), "t", "before")).toMatchObject({ id: "task_1", after: "before", cut: true });
    expect(
      promptOf({
        messages: [
          { role: "user", content: [{ type: "text", text: "Hi" }] },
          { role: "assistant", content: "x" },
        ],
      }),
    ).toBe("Hi");
  });
});

describe("the turns of a thread", () => {
  const turns = [turn("a", undefined, 1), turn("b", "a", 2), turn("c", "b", 3), turn("b2", "a", 4)];

  it("follow the newest branch unless another one is chosen", () => {
    expect(ids(pathOf(turns, {}))).toEqual(["a", "b2"]);
    expect(ids(pathOf(turns, { a: "b" }))).toEqual(["a", "b", "c"]);
    expect(
      branches(turns)
        .get("a")
        ?.map(({ id }) => id),
    ).toEqual(["b", "b2"]);
  });

  it("begin anew where the turn before has expired, and never run in a circle", () => {
    expect(ids(pathOf([turn("c", "gone")], {}))).toEqual(["c"]);
    const circle = [turn("a", "b"), turn("b", "a")];
    expect(pathOf(circle, {})).toEqual([]);
    expect(lineage(new Map(circle.map((one) => [one.id, one])), circle[0]!).length).toBe(2);
  });

  it("are listed by thread, with the title of its own lane and the time of all", () => {
    expect(headings([lane("t~2", 9, "Later"), lane("t", 7, "The sea\nand more"), lane("x~5", 3)])).toEqual([
      { id: "t", title: "The sea", at: 9 },
      { id: "x~5", title: "Untitled", at: 3 },
    ]);
  });
});

describe("answers side by side", () => {
  const pane = (id: string, at: number, sentAt: number): Turn => ({
    ...turn(id, "a", sentAt),
    lane: at ? laneOf("t", at) : undefined,
    beside: { id: "g", at, of: 3 },
  });
  const turns = [turn("a", undefined, 1), pane("p0", 0, 2), pane("p1", 1, 2), pane("p2", 2, 2), pane("p1b", 1, 3)];

  it("stand in one place, each with its attempts, and nothing goes on from them by itself", () => {
    const path = pathOf(turns, {});
    expect(ids(path)).toEqual(["a", "p0"]);
    expect(path[1]).toMatchObject({ picked: false, version: "g", versions: ["g"] });
    expect(path[1]!.panes!.map((attempts) => attempts.map(({ id }) => id))).toEqual([["p0"], ["p1", "p1b"], ["p2"]]);
  });

  it("are gone on with by choice, or where somebody already went on", () => {
    expect(pathOf(turns, { g: "p2" })[1]).toMatchObject({ picked: true, turn: { id: "p2" } });
    const on = [...turns, turn("b", "p1", 4)];
    expect(ids(pathOf(on, {}))).toEqual(["a", "p1", "b"]);
    expect(ids(pathOf(on, { g: "p0" }))).toEqual(["a", "p0"]);
  });

  it("are one version of the message beside others", () => {
    const path = pathOf([...turns, turn("single", "a", 9)], {});
    expect(ids(path)).toEqual(["a", "single"]);
    expect(path[1]!.versions).toEqual(["g", "single"]);
    expect(ids(pathOf([...turns, turn("single", "a", 9)], { a: "g" }))).toEqual(["a", "p0"]);
  });

  it("come back from their tasks, and from nothing that is not sound", () => {
    const sent = pane("p2", 2, 2);
    const back = turnOf(task({ metadata: metadata(sent, "x"), lane: "t~3" }), "t");
    expect(back).toMatchObject({ beside: sent.beside, lane: "t~3", after: "a" });
    for (const beside of [1, {}, { id: "g", at: 3, of: 3 }, { id: "g", at: 0, of: 9 }, { id: "g", at: 0.5, of: 2 }])
      expect(turnOf(task({ metadata: { app: "chat", beside } }), "t").beside).toBeUndefined();
  });
});

describe("confidence", () => {
  it("is unknown where the backend says nothing", () => {
    expect(confidence(undefined)).toBeUndefined();
    expect(confidence([{ logprob: Number.NEGATIVE_INFINITY }])).toBeUndefined();
  });

  it.each([
    [0.3, 1],
    [0.55, 2],
    [0.7, 3],
    [0.85, 4],
    [0.99, 5],
  ])("of a mean chance of %d is level %i", (chance, level) => {
    expect(confidence([{ logprob: Math.log(chance) }, { logprob: Math.log(chance) }])?.level).toBe(level);
  });
});
