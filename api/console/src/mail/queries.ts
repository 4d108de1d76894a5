// What the mail view asks the API for. Mail is no part of the feed: what is shown is asked for again every few seconds.
import { queryOptions } from "@tanstack/react-query";
import type { Mail, Mailbox, MailPage } from "../api/schema";
import { all, get } from "../lib/http";
import { address } from "./words";

const OFTEN = 3_000;
/** Messages of a mailbox that are shown; older ones are reached by the states. */
const SHOWN = 100;
/** Mailboxes that are looked through for one conversation. */
const PARTIES = 8;

export const path = (mailbox: string) => {
  const [kind, ...name] = mailbox.split("/");
  return `/mailboxes/${kind}/${encodeURIComponent(name.join("/"))}`;
};

export const mailboxes = queryOptions({ queryKey: ["mail", "boxes"], queryFn: ({ signal }) => all<Mailbox>("/mailboxes", signal), refetchInterval: OFTEN });

export const mail = (mailbox: string, states: string[]) =>
  queryOptions({
    queryKey: ["mail", "box", mailbox, ...states],
    queryFn: ({ signal }) => get<MailPage>(`${path(mailbox)}/messages?limit=${SHOWN}${states.map((state) => `&states[]=${state}`).join("")}`, signal),
    refetchInterval: OFTEN,
  });

/**
 * A message and all others of its thread, oldest first. An answer is in the mailbox of whoever it answers, so the mailboxes of those
 * who write are looked through, and as far as there is room those that had mail last.
 */
export const conversation = (mailbox: string, message: string, others: string[]) =>
  queryOptions({
    queryKey: ["mail", "thread", mailbox, message],
    queryFn: async ({ signal }) => {
      const one = await get<Mail>(`${path(mailbox)}/messages/${encodeURIComponent(message)}`, signal);
      const parties = [one.mailbox, one.from, `session/${one.session_id ?? ""}`, ...others];
      const boxes = [...new Set(parties)].filter((box) => address(box)).slice(0, PARTIES);
      const pages = await Promise.all(boxes.map((box) => get<MailPage>(`${path(box)}/messages?limit=${SHOWN}&thread=${encodeURIComponent(one.thread)}`, signal)));
      const found = new Map([one, ...pages.flatMap((page) => page.data)].map((mail) => [mail.id, mail]));
      return [...found.values()].sort((a, b) => (a.created_at < b.created_at ? -1 : a.created_at > b.created_at ? 1 : 0));
    },
    refetchInterval: OFTEN,
  });
