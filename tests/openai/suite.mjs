// What the tests of JavaScript clients have in common: they run one after the other, and a closing line counts them.

/** Tests of a client, which is named in the closing line. */
export function suite(client) {
  const counts = { passed: 0, failed: 0 };
  return {
    async test(name, body) {
      try {
        await body();
        counts.passed += 1;
        console.log(`ok      javascript: ${name}`);
      } catch (error) {
        counts.failed += 1;
        console.log(`FAILED  javascript: ${name}\n${error.stack ?? error}`);
      }
    },
    /** Says how many passed and failed, and ends the process. */
    end() {
      console.log(`javascript (${client}): ${counts.passed} passed, ${counts.failed} failed`);
      process.exit(counts.failed ? 1 : 0);
    },
  };
}

/** All that an async iterable gives. */
export async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
