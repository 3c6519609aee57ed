// The places of the app. What is not built yet has no link here.
import { NEXT, setTheme, useTheme } from "../theme";
import { at } from "../router";

const ICONS = {
  chat: "M3 4.5h14v9H9l-4 3v-3H3z",
  tasks: "M3 5h2M8 5h9M3 10h2M8 10h9M3 15h2M8 15h9",
  operations: "M3 16.5h14M4.5 13V9.5M8 13V5.5M11.5 13V8M15 13V3.5",
  find: "M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM13 13l4 4",
  system: "M3 4h14v9H3zM7 16.5h6M10 13v3.5",
  light:
    "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M15.7 4.3l-1.1 1.1M5.4 14.6l-1.1 1.1",
  dark: "M16 12.5A7 7 0 0 1 7.5 4a7 7 0 1 0 8.5 8.5z",
};
const Icon = ({ name }: { name: keyof typeof ICONS }) => (
  <svg viewBox="0 0 20 20" aria-hidden="true">
    <path d={ICONS[name]} />
  </svg>
);
const NAMES = { system: "Auto", light: "Light", dark: "Dark" };

type Props = { page: "chat" | "tasks" | "operations"; operations: boolean; onPalette: () => void };

export function Rail({ page, operations, onPalette }: Props) {
  const theme = useTheme();
  return (
    <nav className="rail" aria-label="Main">
      <svg className="wave" viewBox="0 0 24 12" role="img" aria-label="Tidewire">
        <path d="M1 9c3.7 0 3.7-6 7.3-6s3.7 6 7.3 6 3.7-6 7.3-6" />
      </svg>
      <a href={at("chat")} aria-current={page === "chat" ? "page" : undefined}>
        <Icon name="chat" />
        Chat
      </a>
      <a href={at("tasks")} aria-current={page === "tasks" ? "page" : undefined}>
        <Icon name="tasks" />
        Tasks
      </a>
      {operations && (
        <a href={at("operations")} aria-current={page === "operations" ? "page" : undefined} title="Operations">
          <Icon name="operations" />
          Ops
        </a>
      )}
      <span className="gap push" style={{ flex: 1 }} />
      <button type="button" onClick={onPalette} title="Find and do (Ctrl+K)">
        <Icon name="find" />
        Find
      </button>
      <button
        type="button"
        onClick={() => setTheme(NEXT[theme])}
        title={`Theme: ${NAMES[theme]}. Next: ${NAMES[NEXT[theme]]}`}
        aria-label={`Theme: ${NAMES[theme]}`}
      >
        <Icon name={theme} />
        {NAMES[theme]}
      </button>
    </nav>
  );
}
