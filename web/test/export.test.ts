// What leaves as a file for a spreadsheet.
import { expect, it } from "vitest";
import { csv } from "../src/tasks/csv";

const row = {
  title: "a",
  state: "done",
  text: "",
  error: "",
  input_tokens: 3,
  output_tokens: undefined,
  cost_usd: undefined,
  task: "task_1",
};

it("quotes what would break a line or a column", () => {
  expect(csv([{ ...row, text: 'He said "sea",\nthen left' }])).toBe(
    'title,state,text,error,input_tokens,output_tokens,cost_usd,task\r\na,done,"He said ""sea"",\nthen left",,3,,,task_1\r\n',
  );
});

it.each(["=1+1", "+1", "-1", "@x", "\t=1"])("gives a spreadsheet no formula: %j", (title) => {
  expect(csv([{ ...row, title }]).split("\r\n")[1]).toMatch(/^"?'/);
});
