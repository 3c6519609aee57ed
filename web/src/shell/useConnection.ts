// The connection, as it is now.
import type { ConnectionStatus } from "@tidewire/client";
import { useSyncExternalStore } from "react";
import { client } from "../server";

export const useConnection = (): ConnectionStatus => useSyncExternalStore(client.status.subscribe, () => client.status.snapshot);
