// The colours, as FRONTEND's table has them: text keeps 6:1 on the surface in both themes.
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

const css = readFileSync(new URL("../src/styles/tokens.css", import.meta.url), "utf8");
const themes = [...css.matchAll(/\{([^{}]*--background[^{}]*)\}/g)].map(([, body]) =>
  Object.fromEntries([...body!.matchAll(/--([\w-]+): (#[0-9A-F]{6})/g)].map(([, name, hex]) => [name!, hex!])),
);

function luminance(hex: string) {
  const [r, g, b] = [1, 3, 5]
    .map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

function contrast(one: string, other: string) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light! + 0.05) / (dark! + 0.05);
}

it("keeps text readable in light and dark", () => {
  expect(themes.length).toBe(3);
  for (const theme of themes)
    for (const name of ["text", "muted", "accent", "info", "warning", "error"]) {
      expect(contrast(theme[name]!, theme.surface!), `${name} of ${theme.background}`).toBeGreaterThanOrEqual(5.995);
    }
});

it("says the dark theme twice with the same colours, by choice and by the system's wish", () =>
  expect(themes[1]).toEqual(themes[2]));

it("has a ramp of confidence whose lightness only falls", () => {
  const ramp = [1, 2, 3, 4, 5].map((level) => luminance(themes[0]![`sure-${level}`]!));
  expect(ramp).toEqual(ramp.toSorted((one, other) => other - one));
});
