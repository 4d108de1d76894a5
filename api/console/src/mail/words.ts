// Mail in words: where it goes, who it is from, and what has become of it.
import type { Session } from "../api/model";
import type { Mail, Mailbox } from "../api/schema";
import { plural } from "../lib/format";
import { title, type Tone } from "../lib/words";
import type { IconName } from "../ui/Icon";

export type Kind = "agent" | "session" | "queue";

export interface Address {
  kind: Kind;
  name: string;
}

/** An address out of `agent/NAME`, `session/ID` or `queue/NAME`; senders can be something else, which has no mailbox. */
export function address(text: string | null | undefined): Address | undefined {
  const match = /^(agent|session|queue)\/([\w.-]+)$/.exec(text ?? "");
  return match ? { kind: match[1] as Kind, name: match[2] as string } : undefined;
}

export const ICONS: Record<Kind, IconName> = { agent: "agents", session: "sessions", queue: "queue" };
export const iconOf = (text: string): IconName => ICONS[address(text)?.kind as Kind] ?? (text === "postmaster" ? "warn" : "keys");

/** What people call a mailbox or a sender. */
export function called(text: string, sessions: (id: string) => Session | undefined, me?: string): string {
  const to = address(text);
  if (!to) return text === "postmaster" ? "Postmaster" : text === `key/${me}` ? "You" : text.startsWith("key/") ? `Key …${text.slice(-6)}` : text;
  if (to.kind !== "session") return to.name;
  const session = sessions(to.name);
  return session ? title(session) : `Session …${to.name.slice(-6)}`;
}

export function fate(mail: Pick<Mail, "state" | "deliver_at" | "mailbox">, now: number): { tone: Tone; label: string } {
  switch (mail.state) {
    case "queued":
      return mail.deliver_at && Date.parse(mail.deliver_at) > now ? { tone: "quiet", label: "Goes out later" } : { tone: "busy", label: "Waits" };
    case "leased":
      return { tone: "busy", label: "With a program" };
    case "delivered":
      return { tone: "good", label: "Delivered" };
    case "acknowledged":
      return { tone: "good", label: "Done" };
    case "dead":
      return { tone: "bad", label: "Dead letter" };
    case "cancelled":
      return { tone: "quiet", label: "Taken back" };
    default:
      return { tone: "quiet", label: mail.state };
  }
}

/** What is in a mailbox, in a few words. */
export function inside(box: Mailbox): string {
  const parts = [box.open > box.leased && `${box.open - box.leased} waiting`, box.leased > 0 && `${box.leased} with a program`, box.dead > 0 && plural(box.dead, "dead letter")];
  return parts.filter(Boolean).join(" · ") || "Nothing waits";
}

export interface Thread {
  id: string;
  /** Newest first. */
  mail: Mail[];
}

/** Messages, newest first, as threads: the one that was written in last comes first. */
export function threads(mail: Mail[]): Thread[] {
  const found = new Map<string, Thread>();
  for (const one of mail) {
    const thread = found.get(one.thread);
    if (thread) thread.mail.push(one);
    else found.set(one.thread, { id: one.thread, mail: [one] });
  }
  return [...found.values()];
}
