// The pages of Operations, and who may see which: by the scopes of the caller, as the server has them.
export type Place = "overview" | "deployments" | "money" | "requests" | "dead-letters" | "keys";

export const PLACES: { place: Place; name: string; needs: string }[] = [
  { place: "overview", name: "Overview", needs: "admin:read" },
  { place: "deployments", name: "Deployments", needs: "admin:read" },
  { place: "money", name: "Money", needs: "tasks:read" },
  { place: "requests", name: "Requests", needs: "tasks:read" },
  { place: "dead-letters", name: "Dead letters", needs: "tasks:read" },
  { place: "keys", name: "Keys", needs: "admin:read" },
];

export const allowed = (scopes: readonly string[]) => PLACES.filter(({ needs }) => scopes.includes(needs));
