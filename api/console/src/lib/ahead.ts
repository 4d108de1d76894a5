// What a session's address needs is asked for with the first breath of a page, before its code is there and while the login is
// looked at: one after the other these would be most of the time until something is seen.
import { get } from "./http";

/** Events of a session that are shown before anything else is read. */
const TAIL = 400;

export const newest = (session: string) => `/sessions/${session}/log?tail=${TAIL}&limit=${TAIL}`;
export const summary = (session: string) => `/sessions/${session}?include=extensions`;

const asked = new Map<string, Promise<unknown>>();

export function lookAhead(session: string) {
  for (const path of [newest(session), summary(session)]) {
    const answer = get(path);
    // Whoever takes it hears of it; the login it may lack is somebody else's business.
    answer.catch(() => undefined);
    asked.set(path, answer);
  }
}

/** What was asked for ahead, to the first who wants it; asked for now, to everybody else. */
export function ahead<T>(path: string, signal?: AbortSignal): Promise<T> {
  const answer = asked.get(path);
  asked.delete(path);
  return (answer as Promise<T> | undefined) ?? get<T>(path, signal);
}
