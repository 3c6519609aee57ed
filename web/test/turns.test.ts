// Threads from tasks: what is kept of a turn comes back as it was, and branches are found.
import { describe, expect, it } from "vitest";
import { confidence } from "../src/parts/Confidence";
import { branches, headings, lineage, metadata, pathOf, promptOf, titleOf, turnOf, type Turn } from "../src/chat/turns";

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
    expect(pathOf(turns, {}).map(({ id }) => id)).toEqual(["a", "b2"]);
    expect(pathOf(turns, { a: "b" }).map(({ id }) => id)).toEqual(["a", "b", "c"]);
    expect(
      branches(turns)
        .get("a")
        ?.map(({ id }) => id),
    ).toEqual(["b", "b2"]);
  });

  it("begin anew where the turn before has expired, and never run in a circle", () => {
    expect(pathOf([turn("c", "gone")], {}).map(({ id }) => id)).toEqual(["c"]);
    const circle = [turn("a", "b"), turn("b", "a")];
    expect(pathOf(circle, {})).toEqual([]);
    expect(lineage(new Map(circle.map((one) => [one.id, one])), circle[0]!).length).toBe(2);
  });

  it("are listed by thread, newest first", () => {
    const kept = metadata(turn("a"), "The sea");
    expect(
      headings([
        task({ metadata: kept, lane: "t", submitted_at: 9 }),
        task({ metadata: kept, lane: "t" }),
        task({ lane: "x" }),
      ]),
    ).toEqual([{ id: "t", title: "The sea", at: 9 }]);
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
