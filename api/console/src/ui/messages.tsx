// Short messages at the edge of the page.
import { useSyncExternalStore } from "react";
import { IconButton } from "./basics";
import { Icon } from "./Icon";

interface Told { id: number; text: string; bad: boolean }
let told: Told[] = [];
const listeners = new Set<() => void>();
let next = 1;

function set(change: Told[]) {
  told = change;
  for (const listener of listeners) listener();
}

/** Problems stay until they are closed. */
export function tell(text: string, bad = false) {
  const id = next++;
  set([...told.slice(-3), { id, text, bad }]);
  if (!bad) setTimeout(() => set(told.filter((one) => one.id !== id)), 4000);
}

export const tellError = (error: unknown) => tell(error instanceof Error ? error.message : String(error), true);

export function Messages() {
  const all = useSyncExternalStore((listener) => { listeners.add(listener); return () => listeners.delete(listener); }, () => told);
  return (
    <div aria-live="polite" className="pointer-events-none fixed inset-x-3 bottom-3 z-[60] flex flex-col items-center gap-2">
      {all.map((one) => (
        <div key={one.id} className={`pointer-events-auto flex max-w-xl items-center gap-3 rounded-lg border border-line bg-raised py-2 pr-2 pl-4 text-sm shadow-pop ${one.bad ? "text-bad" : ""}`}>
          <Icon name={one.bad ? "warn" : "check"} />
          <span className="min-w-0 wrap-anywhere">{one.text}</span>
          <IconButton icon="close" label="Dismiss" size={14} className="!size-7" onClick={() => set(told.filter((other) => other.id !== one.id))} />
        </div>
      ))}
    </div>
  );
}
