// Light, dark, or as the system has it. `public/theme.js` applies the choice before the first paint.
import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
const listeners = new Set<() => void>();

function read(): Theme {
  const { theme } = document.documentElement.dataset;
  return theme === "light" || theme === "dark" ? theme : "system";
}

export function setTheme(theme: Theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("tidewire.theme", theme);
  } catch {
    // It holds until the page is left.
  }
  for (const changed of listeners) changed();
}

export const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };

export function useTheme(): Theme {
  return useSyncExternalStore((changed) => {
    listeners.add(changed);
    return () => listeners.delete(changed);
  }, read);
}
