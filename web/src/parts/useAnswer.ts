// A task's snapshot, followed while it is on the screen.
import type { Snapshot } from "@tidewire/client";
import { useSyncExternalStore } from "react";
import { client } from "../server";

export function useAnswer(id: string): Snapshot {
  const task = client.follow(id);
  return useSyncExternalStore(task.subscribe, () => task.snapshot);
}
