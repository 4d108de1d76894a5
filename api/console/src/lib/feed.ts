// All sessions of the workspace, kept current by one connection per tab. Changes are gathered and told once per frame.
import { useSyncExternalStore } from "react";
import type { Session } from "../api/model";
import { ROOT } from "./http";
import { follow, type Health, type Stream } from "./sse";
import { state } from "./words";

export interface Feed {
  sessions: Session[];
  health: Health;
  problem?: string | undefined;
  /** Everything there was has been told. */
  complete: boolean;
}

const known = new Map<string, Session>();
let snapshot: Feed = { sessions: [], health: "connecting", complete: false };
const listeners = new Set<() => void>();
const watchers = new Set<(session: Session, before: Session | undefined) => void>();
let stream: Stream | undefined;
let dirty = false;
/** Whether what is told is news: not before the first `live`, nor while all is told once more. */
let news = false;
let scheduled: ReturnType<typeof setTimeout> | undefined;

function publish(change: Partial<Feed> = {}) {
  if (dirty) {
    const sessions = [...known.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0));
    change = { ...change, sessions };
    dirty = false;
  }
  snapshot = { ...snapshot, ...change };
  for (const listener of listeners) listener();
}

function soon() {
  if (scheduled) return;
  // Timers of a hidden page are slow, which is what one wants there. Large lists are told of less often.
  scheduled = setTimeout(() => {
    scheduled = undefined;
    publish();
  }, snapshot.complete ? (known.size > 2000 ? 250 : 50) : 150);
}

export function openFeed() {
  if (stream) return;
  stream = follow({
    url: (after) => `${ROOT}/feed${after ? `?after=${encodeURIComponent(after)}` : ""}`,
    always: () => localStorage.getItem("notify") === "on",
    onHealth: (health, problem) => publish({ health, problem }),
    onLost: () => {
      known.clear();
      news = false;
      dirty = true;
    },
    onFrames: (frames) => {
      for (const frame of frames) {
        if (frame.event === "session") {
          const session = JSON.parse(frame.data) as Session;
          const before = known.get(session.id);
          known.set(session.id, session);
          dirty = true;
          if (news) for (const watcher of watchers) watcher(session, before);
        } else if (frame.event === "session_deleted") {
          dirty = known.delete((JSON.parse(frame.data) as { id: string }).id) || dirty;
        } else if (frame.event === "live") {
          news = true;
          publish({ complete: true });
        }
      }
      if (dirty) soon();
    },
  });
}

export function closeFeed() {
  stream?.close();
  stream = undefined;
  known.clear();
  news = false;
  snapshot = { sessions: [], health: "connecting", complete: false };
}

function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useFeed = () => useSyncExternalStore(subscribe, () => snapshot);
export const useSession = (id: string) => useSyncExternalStore(subscribe, () => known.get(id));
/** How many calls wait for somebody. */
export const useWaiting = () =>
  useSyncExternalStore(subscribe, () => snapshot.sessions.reduce((sum, one) => sum + calls(one), 0));

function calls(session: Session): number {
  const stop = session.perennial?.stop_reason;
  return stop?.type === "requires_action" && state(session).key === "waiting" ? stop.event_ids.length : 0;
}

/** Tells of each change while the feed is live. */
export function watchSessions(watcher: (session: Session, before: Session | undefined) => void) {
  watchers.add(watcher);
  return () => void watchers.delete(watcher);
}
