// Views of the session list that somebody named on this browser. A view is its filters, as the address has them.
import { useMemo } from "react";
import { useChoice } from "../lib/store";

export type Filters = Partial<Record<"q" | "view" | "agent" | "harness", string>>;

export interface SavedView {
  name: string;
  filters: Filters;
}

const NAMES = ["q", "view", "agent", "harness"] as const;
const MOST = 20;

export const same = (a: Filters, b: Filters) => NAMES.every((name) => (a[name] ?? "") === (b[name] ?? ""));

/** What was kept; whatever else is there is left out. */
export function parse(text: string): SavedView[] {
  try {
    const kept: unknown = JSON.parse(text);
    if (!Array.isArray(kept)) return [];
    return kept.slice(0, MOST).flatMap((one: { name?: unknown; filters?: Record<string, unknown> }) => {
      if (typeof one?.name !== "string" || typeof one.filters !== "object" || one.filters === null) return [];
      const given = one.filters;
      const filters: Filters = Object.fromEntries(NAMES.filter((name) => typeof given[name] === "string" && given[name]).map((name) => [name, given[name]]));
      return [{ name: one.name, filters }];
    });
  } catch {
    return [];
  }
}

export function useSavedViews() {
  const [text, write] = useChoice("views", "[]");
  const views = useMemo(() => parse(text), [text]);
  return {
    views,
    save: (name: string, filters: Filters) => write(JSON.stringify([...views.filter((one) => one.name !== name), { name, filters }].slice(-MOST))),
    forget: (name: string) => write(JSON.stringify(views.filter((one) => one.name !== name))),
  };
}
