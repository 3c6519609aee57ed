// Small parts that say something about an answer: how old it is, how sure its model was, where it stands.
import { renderToStaticMarkup } from "react-dom/server";
import { expect, it } from "vitest";
import { Age } from "../src/parts/Age";
import { Confidence } from "../src/parts/Confidence";
import { ago, standing } from "../src/parts/words";

it("a stale answer says its age and, on demand, why it is shown", () => {
  const markup = renderToStaticMarkup(
    <Age note={{ state: "stale", age_ms: 5 * 60_000, reason: "upstream_timeout" }} since={Date.now()} />,
  );
  expect(markup).toContain("Last updated 5 min ago");
  expect(markup).toContain("Reason: upstream_timeout.");
  expect(markup).toContain("warn");
});

it("confidence is a word, five segments, and what it rests on", () => {
  const known = renderToStaticMarkup(<Confidence logprobs={[{ logprob: Math.log(0.85) }]} />);
  expect(known).toContain("High confidence");
  expect(known.match(/data-on="true"/g)).toHaveLength(4);
  expect(known).toContain("85 % on average, over 1 tokens");
  const unknown = renderToStaticMarkup(<Confidence logprobs={undefined} />);
  expect(unknown).toContain("Confidence unknown");
  expect(unknown).toContain('data-level="0"');
});

it.each([
  [10_000, "just now"],
  [5 * 60_000, "5 min ago"],
  [3 * 3_600_000, "3 h ago"],
  [50 * 3_600_000, "2 d ago"],
])("%i ms is %s", (ms, words) => expect(ago(ms)).toBe(words));

it.each([
  [{ status: "queued", place: 0 }, "Next in line"],
  [{ status: "queued", place: 1_204, waitMs: 90_000 }, "1,204 ahead, about 2 min"],
  [{ status: "queued" }, "Queued"],
  [{ status: "running", place: 3 }, "Running"],
])("%j stands as %s", (task, words) => expect(standing(task)).toBe(words));
