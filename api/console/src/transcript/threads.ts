// Conversations a session has beside its own: each thread of mail, and each task it delegated. What belongs to one is found by ids
// alone: a message that a call sends has the call's own number.
import type { Item } from "./fold";

export interface Thread {
  id: string;
  /** Who it is with: the newest address on the other side. */
  with: string;
  subject: string;
  task: boolean;
  /** Its items, by their ids, oldest first. */
  items: string[];
  /** Its newest message, and the mailbox that has it when it went out from here. */
  message: string;
  at: string;
}

const string = (value: unknown) => (typeof value === "string" ? value : "");
const sent = (call: string) => call.replace(/^sevt_/, "msg_");

export function threads(items: Item[]): Thread[] {
  const found = new Map<string, Thread>();
  const of = new Map<string, string>();
  const add = (id: string, message: string, item: Item, other: string, subject: string, task = false) => {
    of.set(message, id);
    const thread = found.get(id) ?? { id, with: other, subject, task, items: [], message, at: item.at };
    thread.items.push(item.id);
    Object.assign(thread, { with: other, subject: thread.subject || subject, task: thread.task || task, message, at: item.at });
    found.set(id, thread);
  };
  for (const item of items) {
    if (item.kind === "mail" && item.message) {
      add(item.thread || of.get(item.message) || item.message, item.message, item, item.from ?? "", item.subject ?? "");
    } else if (item.kind === "tool" && item.origin === "builtin" && !item.isError) {
      const to = string(item.input.to);
      const message = sent(item.id);
      if (item.name === "send_message" && to) {
        const answered = string(item.input.in_reply_to);
        add(answered ? (of.get(answered) ?? answered) : message, message, item, to, string(item.input.subject));
      } else if (item.name === "delegate_task" && to) {
        add(message, message, item, to, string(item.input.prompt).split("\n")[0] ?? "", true);
      }
    }
  }
  return [...found.values()].sort((a, b) => (a.at < b.at ? 1 : -1));
}
