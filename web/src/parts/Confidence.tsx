// How sure the model was of its words: five outlined segments, a word, and what it rests on.
import "./confidence.css";

const WORDS = ["Low", "Fair", "Moderate", "High", "Very high"] as const;
// Mean chances of a token, from which each word holds. Chosen so that a fluent answer of a good model is High, and
// one that picks among several words at every step is Low.
const FROM = [0, 0.5, 0.65, 0.8, 0.93];

/** 1 to 5 and the mean chance of a token, or nothing where the backend gave no log-probabilities. */
export function confidence(
  logprobs: readonly { logprob: number }[] | undefined,
): { level: number; chance: number; tokens: number } | undefined {
  const known = logprobs?.filter(({ logprob }) => Number.isFinite(logprob)) ?? [];
  if (known.length === 0) return undefined;
  const chance = Math.exp(known.reduce((sum, { logprob }) => sum + Math.min(0, logprob), 0) / known.length);
  return { level: FROM.findLastIndex((from) => chance >= from) + 1, chance, tokens: known.length };
}

export function Confidence({ logprobs }: { logprobs: readonly { logprob: number }[] | undefined }) {
  const found = confidence(logprobs);
  const title = found
    ? `The model gave its words a chance of ${(found.chance * 100).toFixed(0)} % on average, over ${found.tokens} tokens. It says how sure the model was of its words, not whether they are true.`
    : "The model's backend gives no log-probabilities for this answer.";
  return (
    <span className="sure" data-level={found?.level ?? 0} title={title}>
      <span className="bars" aria-hidden="true">
        {WORDS.map((word, at) => (
          <i key={word} data-on={at < (found?.level ?? 0)} />
        ))}
      </span>
      {found ? `${WORDS[found.level - 1]} confidence` : "Confidence unknown"}
      <span className="unseen">{` (${title})`}</span>
    </span>
  );
}
