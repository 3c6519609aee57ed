// An answer's text. While it is live, only its last block is made anew.
import { memo, useRef } from "react";
import { Blocks, type Token } from "./blocks";
import { BlockView } from "./render";
import "./prose.css";

// Blocks that a group holds: a long answer's thousand blocks are then a few dozen comparisons a frame, for React and for the
// browser's layout, which passes over a contained group as a whole.
const GROUP = 32;

export const Prose = memo(function Prose({ text, live }: { text: string; live: boolean }) {
  const fold = useRef<Blocks>(null);
  fold.current ??= new Blocks();
  const tokens = fold.current.update(text, live);
  const groups = [];
  for (let at = 0; at < tokens.length; at += GROUP) groups.push(tokens.slice(at, at + GROUP));
  return (
    <div className="prose">
      {groups.map((group, at) => (
        <Group key={at} tokens={group} />
      ))}
    </div>
  );
});

const same = (one: { tokens: Token[] }, other: { tokens: Token[] }) =>
  one.tokens.length === other.tokens.length && one.tokens.every((token, at) => token === other.tokens[at]);

const Group = memo(function Group({ tokens }: { tokens: Token[] }) {
  return (
    <div className="group">
      {tokens.map((token, at) => (
        <BlockView key={at} token={token} />
      ))}
    </div>
  );
}, same);
