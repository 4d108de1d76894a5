// Mail between agents, sessions and programs: mailboxes, the threads in one of them, and one thread with what became of each message.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, type ReactNode, Suspense, useEffect, useRef, useState } from "react";
import type { Block } from "../api/model";
import type { Mail as Message, Mailbox } from "../api/schema";
import { useFeed } from "../lib/feed";
import { ago, full, plural } from "../lib/format";
import { post } from "../lib/http";
import { useShortcuts } from "../lib/keys";
import { login } from "../lib/queries";
import { useNow } from "../lib/store";
import { type Draft, takeDrafts } from "../mail/draft";
import { conversation, mail as messages, mailboxes, path } from "../mail/queries";
import { address, called, fate, iconOf, inside, type Thread, threads } from "../mail/words";
import { attempt } from "../session/actions";
import { Images } from "../session/Message";
import { text } from "../transcript/fold";
import { Button, Chip, Empty, Lines, Problem, Status } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { tell } from "../ui/messages";

const Write = lazy(() => import("../mail/Write"));

const STATES = [
  { key: undefined, label: "All", states: [] },
  { key: "waiting", label: "Waiting", states: ["queued", "leased"] },
  { key: "dead", label: "Dead letters", states: ["dead"] },
];

type Name = (text: string) => string;

function useNames(): Name {
  const { sessions } = useFeed();
  const me = useQuery(login).data?.key_id;
  return (one) => called(one, (id) => sessions.find((session) => session.id === id), me);
}

export function Mail() {
  const search = useSearch({ from: "/shell/mail" });
  const navigate = useNavigate({ from: "/mail" });
  const name = useNames();
  const boxes = useQuery(mailboxes);
  const state = STATES.find((one) => one.key === search.state) ?? STATES[0];
  const box = search.box ?? "";
  const [draft, setDraft] = useState<Draft>();
  const list = useRef<HTMLUListElement>(null);
  const set = (change: { box?: string | undefined; state?: string | undefined; message?: string | undefined }, replace = false) => void navigate({ search: (before) => ({ ...before, ...change }), replace });
  const read = useQuery({ ...messages(box, state?.states ?? []), enabled: address(box) !== undefined });
  const found = read.data ? threads(read.data.data) : [];
  const current = found.findIndex((thread) => thread.mail.some((one) => one.id === search.message));

  useEffect(() => takeDrafts(setDraft), []);
  const go = (by: number) => {
    const next = found[Math.max(0, Math.min(found.length - 1, current + (current < 0 && by < 0 ? found.length : by)))];
    if (!next?.mail[0]) return;
    set({ message: next.mail[0].id }, true);
    requestAnimationFrame(() => list.current?.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" }));
  };
  useShortcuts("Mail", [
    { keys: "w", does: "Write mail", run: () => setDraft(address(box)?.kind === "session" || !box ? {} : { to: box }) },
    { keys: "j", does: "Next thread", run: () => go(1) },
    { keys: "k", does: "Previous thread", run: () => go(-1) },
  ]);

  const sorted = [...(boxes.data ?? [])].sort((a, b) => (a.latest_at < b.latest_at ? 1 : -1));
  return (
    <div className="flex h-full flex-col">
      <header className="flex h-14 shrink-0 items-center gap-3 border-b border-line px-4 sm:px-6">
        <h1 className="min-w-0 flex-1 truncate text-lg font-semibold">Mail</h1>
        <Button look="primary" icon="edit" onClick={() => setDraft({})}>Write</Button>
      </header>
      {boxes.error && !boxes.data ? <Problem error={boxes.error} retry={() => void boxes.refetch()} /> : boxes.isPending ? <Lines n={8} /> : sorted.length === 0 && !box ? (
        <Empty icon="mail" title="No mail yet">
          <p>Agents, sessions and programs write to each other here. What is sent is delivered even if its receiver is away, and once.</p>
          <p className="mt-4"><Button look="primary" icon="edit" onClick={() => setDraft({})}>Write the first</Button></p>
        </Empty>
      ) : (
        <div className="flex min-h-0 flex-1">
          <nav aria-label="Mailboxes" className={`w-full shrink-0 overflow-y-auto md:w-60 md:border-r md:border-line ${box ? "max-md:hidden" : ""} ${search.message ? "max-xl:hidden" : ""}`}>
            <ul className="p-2">{sorted.map((one) => <li key={one.address}><Box box={one} name={name(one.address)} current={one.address === box} /></li>)}</ul>
          </nav>
          {!box ? <div className="min-w-0 flex-1 max-md:hidden"><Empty icon="mail" title="Choose a mailbox"><p>An agent’s mail goes to a session of it, a session’s into its conversation, and a queue’s to whichever program receives it.</p></Empty></div> : (
            <section aria-label={`Threads of ${name(box)}`} className={`flex w-full min-w-0 flex-col md:flex-1 xl:max-w-80 xl:border-r xl:border-line 2xl:max-w-md ${search.message ? "max-xl:hidden" : ""}`}>
              <div className="flex h-[42px] shrink-0 items-center gap-5 overflow-x-auto border-b border-line px-4">
                <Back label="Mailboxes" className="md:hidden" to={{}} />
                <div role="group" aria-label="States" className="flex h-full gap-5">
                  {STATES.map((one) => <button key={one.label} type="button" aria-pressed={one === state} onClick={() => set({ state: one.key, message: undefined }, true)} className={`shrink-0 border-b-2 text-sm ${one === state ? "border-accent font-medium" : "border-transparent text-soft hover:text-text"}`}>{one.label}</button>)}
                </div>
              </div>
              <div className="min-h-0 flex-1 overflow-y-auto" tabIndex={-1}>
                {!address(box) ? <Problem error={`${box} is no mailbox`} /> : read.error && !read.data ? <Problem error={read.error} retry={() => void read.refetch()} /> : read.isPending ? <Lines n={6} /> : found.length === 0 ? (
                  <Empty icon="check" title={state?.key === "dead" ? "No dead letters" : state?.key === "waiting" ? "Nothing waits here" : "No mail here"} />
                ) : (
                  <ul ref={list} aria-label="Threads">
                    {found.map((thread, at) => <li key={thread.id}><Row thread={thread} name={name} current={at === current} /></li>)}
                    {read.data?.next_page && <li className="px-4 py-3 text-center text-xs text-faint">The newest {read.data.data.length}; older ones by <code className="font-mono">perennial mail list</code></li>}
                  </ul>
                )}
              </div>
            </section>
          )}
          {search.message && box ? <Reading key={search.message} box={box} message={search.message} others={sorted.map((one) => one.address)} name={name} answer={setDraft} /> : box && <div className="min-w-0 flex-1 max-xl:hidden"><Empty icon="mail" title="Choose a thread" /></div>}
        </div>
      )}
      <Suspense>
        {draft && <Write draft={draft} onClose={() => setDraft(undefined)} onSent={(sent) => { tell("Sent: it is kept until it is delivered"); if (!draft.answers) set({ box: sent.mailbox, message: sent.id, state: undefined }); }} />}
      </Suspense>
    </div>
  );
}

function Back({ label, to, className = "" }: { label: string; to: { box?: string }; className?: string }) {
  return <Link to="/mail" search={to} aria-label={label} className={`-ml-2 flex size-8 shrink-0 items-center justify-center rounded-md text-faint hover:bg-hover hover:text-text ${className}`}><Icon name="chevron" className="rotate-180" /></Link>;
}

function Box({ box, name, current }: { box: Mailbox; name: string; current: boolean }) {
  return (
    <Link to="/mail" search={{ box: box.address }} aria-current={current || undefined} title={box.address} className={`flex items-center gap-2.5 rounded-[7px] px-2.5 py-2 ${current ? "bg-accent-soft" : "hover:bg-hover"}`}>
      <Icon name={iconOf(box.address)} className={current ? "text-accent" : "text-faint"} />
      <span className="min-w-0 flex-1">
        <span className={`block truncate text-sm ${current ? "font-medium text-accent" : ""}`}>{name}</span>
        <span className={`block truncate text-xs ${box.dead > 0 ? "text-bad" : "text-faint"}`}>{inside(box)}</span>
      </span>
    </Link>
  );
}

const opening = (mail: Message) => text(mail.content as Block[]).split("\n").find((line) => line.trim()) ?? "";

function Row({ thread, name, current }: { thread: Thread; name: Name; current: boolean }) {
  const now = useNow();
  const newest = thread.mail[0];
  const first = thread.mail.at(-1);
  if (!newest || !first) return null;
  const { tone, label } = fate(newest, now);
  const writers = [...new Set(thread.mail.map((one) => name(one.from)))];
  return (
    <Link to="/mail" search={(before) => ({ ...before, message: newest.id })} aria-current={current || undefined} className={`block border-b border-line px-4 py-2.5 focus-visible:-outline-offset-2 ${current ? "bg-accent-soft" : "hover:bg-hover"}`}>
      <span className="flex items-baseline gap-2">
        <span className="min-w-0 flex-1 truncate text-sm font-medium">{first.subject || opening(first) || "No subject"}</span>
        <time dateTime={newest.created_at} title={full(newest.created_at)} className="tnum shrink-0 text-xs text-soft">{ago(newest.created_at, now)}</time>
      </span>
      <span className="mt-0.5 flex items-center gap-2 text-xs text-soft">
        <span className="min-w-0 flex-1 truncate">{writers.join(", ")}{thread.mail.length > 1 && <> · {plural(thread.mail.length, "message")}</>}{first.subject && <span className={current ? "" : "text-faint"}> · {opening(newest)}</span>}</span>
        <Status tone={tone} label={label} className="text-xs!" />
      </span>
    </Link>
  );
}

function Reading({ box, message, others, name, answer }: { box: string; message: string; others: string[]; name: Name; answer: (draft: Draft) => void }) {
  const { data, error, isPending, refetch } = useQuery(conversation(box, message, others));
  const head = data?.[0];
  return (
    <section aria-label="Thread" className="flex min-w-0 flex-1 flex-col">
      <div className="flex h-[42px] shrink-0 items-center gap-2 border-b border-line px-4">
        <Back label="Threads" className="xl:hidden" to={{ box }} />
        <h2 className="min-w-0 flex-1 truncate font-semibold">{head ? head.subject || opening(head) || "No subject" : ""}</h2>
        {data && <span className="tnum shrink-0 text-xs text-faint">{plural(data.length, "message")}</span>}
      </div>
      <div className="min-h-0 flex-1 overflow-y-auto" tabIndex={0} role="region" aria-label="Messages">
        {error && !data ? <Problem error={error} retry={() => void refetch()} /> : isPending ? <Lines /> : (
          <ol className="mx-auto max-w-3xl space-y-3 p-4 sm:p-5">
            {data?.map((one) => <li key={one.id}><Letter mail={one} name={name} chosen={one.id === message && data.length > 1} answer={answer} /></li>)}
          </ol>
        )}
      </div>
    </section>
  );
}

function Letter({ mail, name, chosen, answer }: { mail: Message; name: Name; chosen: boolean; answer: (draft: Draft) => void }) {
  const client = useQueryClient();
  const now = useNow();
  const { tone, label } = fate(mail, now);
  const content = mail.content as Block[];
  const here = `${path(mail.mailbox)}/messages/${mail.id}`;
  async function change(verb: "cancel" | "replay", told: string) {
    if (await attempt(post(`${here}/${verb}`))) tell(told);
    await client.invalidateQueries({ queryKey: ["mail"] });
  }
  const subject = mail.subject && !/^re:/i.test(mail.subject) ? `Re: ${mail.subject}` : mail.subject;
  return (
    <article aria-label={`Message from ${name(mail.from)}`} className={`rounded-xl border bg-surface ${chosen ? "border-accent" : "border-line"}`}>
      <header className="flex flex-wrap items-center gap-x-2.5 gap-y-1 px-4 pt-3">
        <Party one={mail.from} name={name} /> <Icon name="chevron" size={12} className="text-faint" /> <Party one={mail.mailbox} name={name} />
        <span className="flex-1" />
        <Status tone={tone} label={label} className="text-xs!" />
        <time dateTime={mail.created_at} title={full(mail.created_at)} className="tnum text-xs text-faint">{ago(mail.created_at, now)}</time>
      </header>
      {mail.reason && mail.state === "dead" && <p className="mx-4 mt-2 rounded-lg bg-bad-soft px-3 py-1.5 text-sm text-bad">{mail.reason}</p>}
      <p className="px-4 py-2.5 whitespace-pre-wrap wrap-anywhere">{text(content)}</p>
      <Images blocks={content} />
      <footer className="flex flex-wrap items-center gap-x-1 gap-y-1 border-t border-line px-2 py-1">
        <Facts mail={mail} now={now} />
        <span className="flex-1" />
        {mail.state === "queued" && <Button small look="quiet" icon="close" onClick={() => change("cancel", "Taken back: nobody gets it")}>Take back</Button>}
        {mail.state === "dead" && <Button small look="quiet" icon="retry" onClick={() => change("replay", "Queued again")}>Deliver again</Button>}
        {mail.session_id && <Link to="/sessions/$session" params={{ session: mail.session_id }} className="inline-flex h-7 items-center gap-1.5 rounded-[7px] px-2.5 text-xs font-medium text-soft hover:bg-hover hover:text-text"><Icon name="sessions" size={14} /> Its session</Link>}
        {address(mail.from) && <Button small look="quiet" icon="reply" onClick={() => answer({ to: mail.from, subject, answers: mail.id })}>Answer</Button>}
      </footer>
    </article>
  );
}

function Party({ one, name }: { one: string; name: Name }) {
  const to = address(one);
  const content: ReactNode = <><Icon name={iconOf(one)} size={14} className="text-faint" /> <span className="truncate">{name(one)}</span></>;
  const look = "flex min-w-0 items-center gap-1.5 text-sm font-medium";
  return to?.kind === "session" ? <Link to="/sessions/$session" params={{ session: to.name }} title={one} className={`${look} hover:underline`}>{content}</Link> : <span title={one} className={look}>{content}</span>;
}

function Facts({ mail, now }: { mail: Message; now: number }) {
  const later = mail.deliver_at && Date.parse(mail.deliver_at) > now;
  return (
    <span className="flex min-w-0 flex-wrap items-center gap-1.5 px-2 text-xs text-faint">
      {later && <span title={full(mail.deliver_at ?? "")}>goes out {full(mail.deliver_at ?? "")}</span>}
      {mail.deliveries > 1 && <span>{plural(mail.deliveries, "try", "tries")}</span>}
      {mail.hops > 0 && <span>{plural(mail.hops, "agent")} on its way</span>}
      {mail.expires_at && (mail.state === "queued" || mail.state === "leased") && <span title={full(mail.expires_at)}>ends {full(mail.expires_at)}</span>}
      {Object.entries(mail.metadata).map(([key, value]) => <Chip key={key}>{key}: {value}</Chip>)}
    </span>
  );
}
