// Beside the conversation: the threads it has with others, each with a way to its newest message.
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import type { Session } from "../api/model";
import { useFeed } from "../lib/feed";
import { ago, count, full, plural } from "../lib/format";
import { useNow } from "../lib/store";
import { state } from "../lib/words";
import { address, called, iconOf } from "../mail/words";
import type { Item } from "../transcript/fold";
import { threads } from "../transcript/threads";
import { Chip, Status } from "../ui/basics";
import { Icon } from "../ui/Icon";

export function Threads({ session, items, select }: { session: Session; items: Item[]; select: (event: string) => void }) {
  const found = useMemo(() => threads(items), [items]);
  const { sessions } = useFeed();
  const now = useNow();
  const is = state(session);
  return (
    <ul aria-label="Threads" className="min-h-0 flex-1 divide-y divide-line overflow-y-auto text-sm" tabIndex={0}>
      <li className="flex items-center gap-3 px-4 py-3">
        <Icon name="sessions" className="text-faint" />
        <span className="min-w-0 flex-1"><span className="block font-medium">This conversation</span><span className="tnum block text-xs text-faint">{count(session.perennial?.head ?? 0)} events</span></span>
        <Status tone={is.tone} label={is.label} className="text-xs!" />
      </li>
      {found.map((one) => {
        const other = called(one.with, (id) => sessions.find((session) => session.id === id));
        const to = address(one.with);
        const last = one.items.at(-1);
        return (
          <li key={one.id} className="px-4 py-3">
            <button type="button" onClick={() => last && select(last)} className="flex w-full items-start gap-3 rounded-md text-left hover:text-accent">
              <Icon name={iconOf(one.with)} className="mt-0.5 text-faint" />
              <span className="min-w-0 flex-1"><span className="flex items-center gap-2"><span className="min-w-0 truncate font-medium">{other}</span>{one.task && <Chip>Task</Chip>}</span>{one.subject && <span className="block truncate text-soft">{one.subject}</span>}</span>
              <time dateTime={one.at} title={full(one.at)} className="tnum shrink-0 text-xs text-faint">{ago(one.at, now)}</time>
            </button>
            <p className="flex flex-wrap gap-x-3 pl-7 text-xs text-faint">
              <span>{plural(one.items.length, "message")} here</span>
              {to?.kind === "session" && <Link to="/sessions/$session" params={{ session: to.name }} className="text-accent underline underline-offset-2">Its session</Link>}
              {to && <Link to="/mail" search={{ box: one.with }} className="text-accent underline underline-offset-2">Its mailbox</Link>}
            </p>
          </li>
        );
      })}
      {found.length === 0 && <li className="px-4 py-3 text-faint">It has no other: threads begin with mail, and with tasks it delegates.</li>}
    </ul>
  );
}
