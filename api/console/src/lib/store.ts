// What a person chose on this browser, and the time.
import { useSyncExternalStore } from "react";

type Name = "theme" | "shortcuts" | "notify" | "inspector" | "guide" | "spoken" | "views";
const listeners = new Set<() => void>();

export function read(name: Name, otherwise: string): string {
  return localStorage.getItem(name) ?? otherwise;
}

export function write(name: Name, value: string) {
  localStorage.setItem(name, value);
  if (name === "theme") applyTheme();
  for (const listener of listeners) listener();
}

function listen(listener: () => void) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useChoice(name: Name, otherwise: string): [string, (value: string) => void] {
  const value = useSyncExternalStore(listen, () => read(name, otherwise));
  return [value, (next) => write(name, next)];
}

export function applyTheme() {
  const theme = read("theme", "system");
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

let now = Date.now();
const ticking = new Set<() => void>();
let ticker: ReturnType<typeof setInterval> | undefined;

function tick(listener: () => void) {
  // Only for the first of them: a time that moves whenever somebody looks would have everybody look again.
  if (!ticker) {
    now = Date.now();
    ticker = setInterval(() => {
      now = Date.now();
      for (const one of ticking) one();
    }, 1000);
  }
  ticking.add(listener);
  return () => {
    ticking.delete(listener);
    if (ticking.size === 0) {
      clearInterval(ticker);
      ticker = undefined;
    }
  };
}

/** The time, to within a second; one timer for everybody. */
export const useNow = () => useSyncExternalStore(tick, () => now);
