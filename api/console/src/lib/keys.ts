// The keyboard. Views say which keys they take while they are shown; the map of keys (`?`) lists what is there at the moment.
import { useEffect, useRef, useSyncExternalStore } from "react";
import { read } from "./store";

export interface Shortcut {
  /** `j`, `?`, `g s` (one after the other), `mod+k` (Ctrl or Command), `shift+x`. */
  keys: string;
  does: string;
  run: () => void;
  /** Also while one is typing. */
  anywhere?: boolean;
}

let sets: { group: string; shortcuts: Shortcut[] }[] = [];
const listeners = new Set<() => void>();
let pending = "";
let pendingTimer: ReturnType<typeof setTimeout> | undefined;

function changed() {
  sets = [...sets];
  for (const listener of listeners) listener();
}

export const useShortcutMap = () =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => sets,
  );

/** Takes these keys while the caller is mounted. */
export function useShortcuts(group: string, shortcuts: Shortcut[], enabled = true) {
  const current = useRef(shortcuts);
  current.current = shortcuts;
  const names = shortcuts.map((one) => one.keys).join(" ");
  useEffect(() => {
    if (!enabled) return;
    const set = {
      group,
      shortcuts: current.current.map((one, at) => ({ ...one, run: () => current.current[at]?.run() })),
    };
    sets.push(set);
    changed();
    return () => {
      sets = sets.filter((one) => one !== set);
      changed();
    };
  }, [group, names, enabled]);
}

function typing(target: EventTarget | null) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

function nameOf(event: KeyboardEvent): string {
  const key = event.key.length === 1 ? event.key : event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) return `mod+${key.toLowerCase()}`;
  if (event.shiftKey && event.key.length > 1) return `shift+${key}`;
  return key;
}

function onKey(event: KeyboardEvent) {
  if (event.defaultPrevented || event.isComposing || event.altKey) return;
  const name = nameOf(event);
  const here = typing(event.target);
  // What has the focus is pressed by these; they are shortcuts only where nothing has it.
  if ((name === "enter" || name === " ") && event.target instanceof Element && event.target.closest("button,a,summary,input,select")) return;
  // A dialog has the keyboard to itself.
  const dialog = document.querySelector("[role=dialog],[role=alertdialog],[role=menu]");
  const single = !name.startsWith("mod+");
  if (single && read("shortcuts", "on") === "off" && name.length === 1 && name !== "?") return;
  const sequence = pending ? `${pending} ${name}` : name;
  const candidates = sets.toReversed().flatMap((set) => set.shortcuts);
  const found = candidates.find((one) => one.keys === sequence) ?? candidates.find((one) => one.keys === name);
  clearTimeout(pendingTimer);
  pending = "";
  if (found && (!here || found.anywhere) && (!dialog || found.anywhere)) {
    event.preventDefault();
    found.run();
  } else if (!here && !dialog && candidates.some((one) => one.keys.startsWith(`${name} `))) {
    pending = name;
    pendingTimer = setTimeout(() => {
      pending = "";
    }, 1200);
  }
}

export function listenToKeys() {
  window.addEventListener("keydown", onKey);
}
