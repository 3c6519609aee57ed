export { Batch } from "./batch.js";
export { Client, connect } from "./client.js";
export type { Cancel, Clock } from "./clock.js";
export { TidewireError } from "./error.js";
export type { Key } from "./http.js";
export { Task, type From } from "./task.js";
export type * from "./types.js";
