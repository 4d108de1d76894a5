// Numbers, times and ids for people.

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en");

export const count = (value: number) => whole.format(value);
export const short = (value: number) => (value < 1000 ? String(value) : compact.format(value));

/** Millionths of a US dollar. */
export function money(micro: number): string {
  if (micro === 0) return "$0";
  const dollars = micro / 1e6;
  if (dollars < 0.01) return "<$0.01";
  return `$${dollars.toFixed(dollars < 100 ? 2 : 0)}`;
}

export function span(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}

export function ago(at: string, now: number): string {
  const ms = now - Date.parse(at);
  return ms < 5000 ? "now" : ms < 10_000 ? `${Math.floor(ms / 1000)} s` : span(ms);
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const fullFormat = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
export const clock = (at: string) => clockFormat.format(new Date(at));
export const day = (at: string) => dayFormat.format(new Date(at));
export const full = (at: string) => fullFormat.format(new Date(at));

/** An id's distinguishing end; the whole of it is a title away. */
export const tail = (id: string) => `${id.slice(0, id.indexOf("_") + 1)}…${id.slice(-6)}`;

export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export const plural = (n: number, one: string, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
