// One session: the conversation, what one says to it, and the inspector. Everything that is chosen is in the address.
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Session } from "../api/model";
import { ahead, summary } from "../lib/ahead";
import { useSession } from "../lib/feed";
import { remove } from "../lib/http";
import { useShortcuts } from "../lib/keys";
import { useChoice } from "../lib/store";
import { state, title } from "../lib/words";
import type { Item, Tool } from "../transcript/fold";
import { Button, Empty, IconButton, Lines, Problem, Status } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { Confirm, Menu } from "../ui/overlay";
import { archive, attempt, confirm, interrupt, retry, say, send } from "./actions";
import { Composer, type ComposerReach } from "./Composer";
import { Fork, Switch } from "./dialogs";
import { Inspector, type Panel, PANELS } from "./Inspector";
import { useSessionLog } from "./log";
import { type Reach, Transcript } from "./Transcript";

const Changes = lazy(() => import("./Changes"));
const Dock = lazy(() => import("./Dock"));

export function useOne(id: string): { session: Session | undefined; error: unknown } {
  const live = useSession(id);
  const asked = useQuery({ queryKey: ["session", id], queryFn: ({ signal }) => ahead<Session>(summary(id), signal), enabled: !live });
  return { session: live ?? asked.data, error: live ? undefined : asked.error };
}

export function blocked(session: Session): string | undefined {
  if (session.archived_at) return "This session is archived: it can be read and forked.";
  if (session.status === "terminated") return "This session has ended: it can be read and forked.";
  return undefined;
}

const WIDE = "(min-width: 1024px)";

export function SessionView() {
  const { session: id } = useParams({ from: "/shell/sessions/$session" });
  return <One key={id} id={id} />;
}

function One({ id }: { id: string }) {
  const search = useSearch({ from: "/shell/sessions/$session" });
  const navigate = useNavigate({ from: "/sessions/$session" });
  const { session, error } = useOne(id);
  const [view, log] = useSessionLog(id);
  const transcript = useRef<Reach>(null);
  const composer = useRef<ComposerReach>(null);
  const [docked, setDocked] = useChoice("inspector", "open");
  const [wide, setWide] = useState(() => matchMedia(WIDE).matches);
  const [forking, setForking] = useState<{ id: string; seq: number }>();
  const [switching, setSwitching] = useState(false);
  const [deleting, setDeleting] = useState(false);

  useEffect(() => {
    const media = matchMedia(WIDE);
    const changed = () => setWide(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  useEffect(() => {
    document.title = session ? `${title(session)} · Perennial` : "Perennial";
    return () => {
      document.title = "Perennial";
    };
  }, [session]);

  const chosen = PANELS.find((one) => one.key === search.panel)?.key;
  const open = wide ? docked === "open" || chosen !== undefined : chosen !== undefined;
  const panel: Panel = chosen ?? "session";
  const reviews = search.view === "changes";
  const set = useCallback((change: { event?: string | undefined; panel?: string | undefined; view?: string | undefined; terminal?: string | undefined }) => void navigate({ search: (before) => ({ ...before, ...change }), replace: true }), [navigate]);
  const close = () => {
    if (wide) setDocked("closed");
    set({ panel: undefined });
  };
  const toggle = () => (open ? close() : wide ? setDocked("open") : set({ panel: "session" }));

  const review = () => set({ view: reviews ? undefined : "changes" });
  const dock = () => set({ terminal: search.terminal ? undefined : "last" });

  // An address that names an event leads to it, once it is there.
  const reached = useRef<string>(undefined);
  useEffect(() => {
    if (!search.event || view.loading || reached.current === search.event) return;
    const place = view.fold.place(search.event);
    if (place === undefined) return;
    reached.current = search.event;
    transcript.current?.show(place);
  }, [search.event, view]);

  const current = search.event ? view.items[view.fold.place(search.event) ?? -1]?.id : undefined;
  const select = useCallback((item: Item) => { reached.current = item.id; set({ event: item.id }); }, [set]);
  const raw = useCallback((item: Item) => { reached.current = item.id; set({ event: item.id, panel: "events" }); }, [set]);
  const fork = useCallback((item: Item) => setForking(item), []);
  const pending = useMemo(() => view.items.filter((item): item is Tool => item.kind === "tool" && item.status === "asks"), [view.items]);
  const step = (by: number) => {
    const stored = view.items.filter((item) => item.seq > 0);
    const at = stored.findIndex((item) => item.id === current);
    const next = stored[at < 0 ? (by < 0 ? stored.length - 1 : 0) : Math.max(0, Math.min(stored.length - 1, at + by))];
    if (!next) return;
    set({ event: next.id });
    reached.current = next.id;
    transcript.current?.show(view.items.indexOf(next));
  };
  const answer = (allow: boolean) => {
    const first = pending.find((tool) => tool.origin !== "custom");
    if (first) void attempt(send(id, confirm(first.id, allow)));
  };
  const selected = view.items.find((item) => item.id === current);

  useShortcuts("Session", [
    { keys: "c", does: "Write a message", run: () => composer.current?.focus() },
    { keys: "i", does: "Inspector", run: toggle },
    { keys: "j", does: "Next event", run: () => step(1) },
    { keys: "k", does: "Previous event", run: () => step(-1) },
    { keys: "r", does: "Raw event", run: () => (selected ? raw(selected) : set({ panel: "events" })) },
    { keys: "f", does: "Fork from the selected event", run: () => { const item = selected ?? view.items.findLast((one) => one.seq > 0); if (item) fork(item); } },
    { keys: "y", does: "Allow the first call that asks", run: () => answer(true) },
    { keys: "d", does: "Deny the first call that asks", run: () => answer(false) },
    { keys: "v", does: "What has changed", run: review },
    ...(search.terminal ? [] : [{ keys: "t", does: "Terminal", run: dock }]),
    { keys: ".", does: "Go to the newest", run: () => { set({ event: undefined }); transcript.current?.end(); } },
    { keys: "shift+escape", does: "Stop what runs", run: () => void attempt(send(id, interrupt)), anywhere: true },
  ]);

  if (error || (view.problem && view.items.length === 0)) {
    return <div className="pt-10"><Problem error={error ?? view.problem} retry={() => location.reload()} /><Empty icon="search" title="This session cannot be shown"><Link to="/" className="text-accent underline">All sessions</Link></Empty></div>;
  }
  if (!session) return <Lines n={9} />;
  const is = state(session);
  // A session that was given up after crashes is made ready; a turn that failed is asked for again.
  const again = () => {
    const last = view.items.findLast((item) => item.kind === "user");
    if (session.perennial?.quarantined) void attempt(retry(id));
    else if (last?.kind === "user") void attempt(send(id, say(last.blocks)));
  };
  return (
    <div className="flex h-full min-h-0">
      <section className="flex min-w-0 flex-1 flex-col" aria-label={title(session)}>
        <header className="flex h-14 shrink-0 items-center gap-3 border-b border-line px-3 sm:px-5">
          <Link to="/" aria-label="All sessions" className="-ml-1 flex size-8 shrink-0 items-center justify-center rounded-md text-faint hover:bg-hover hover:text-text"><Icon name="chevron" className="rotate-180" /></Link>
          <div className="min-w-0 flex-1">
            <h1 className="truncate leading-5 font-semibold" title={session.id}>{title(session)}</h1>
            <p className="truncate text-xs text-faint">{session.agent.name} · {session.agent.model.id}</p>
          </div>
          <span aria-live="polite"><Status tone={is.tone} label={is.label} /></span>
          {is.key === "failed" && <Button icon="retry" onClick={again}>Retry</Button>}
          <IconButton icon="diff" label={reviews ? "Back to the conversation" : "What has changed"} keys="v" aria-pressed={reviews} onClick={review} className={`max-sm:hidden ${reviews ? "!text-accent" : ""}`} />
          <IconButton icon="terminal" label={search.terminal ? "Close the terminal" : "Terminal"} keys="t" aria-pressed={Boolean(search.terminal)} onClick={dock} className={`max-sm:hidden ${search.terminal ? "!text-accent" : ""}`} />
          <IconButton icon="panel" label={open ? "Close the inspector" : "Open the inspector"} keys="i" aria-pressed={open} onClick={toggle} className={open ? "!text-accent" : ""} />
          <Menu
            trigger={<IconButton icon="more" label="Actions" />}
            actions={[
              { label: reviews ? "Back to the conversation" : "What has changed", icon: "diff", keys: "v", run: review },
              { label: "Terminal", icon: "terminal", keys: "t", run: dock },
              { label: "Fork from the end", icon: "fork", keys: "f", run: () => { const last = view.items.findLast((item) => item.seq > 0); if (last) fork(last); } },
              { label: "Switch model or harness", icon: "agents", run: () => setSwitching(true) },
              !session.archived_at && { label: "Archive", icon: "archive", run: () => void attempt(archive(id)) },
              { label: "Delete", icon: "trash", danger: true, run: () => setDeleting(true) },
            ]}
          />
        </header>
        {pending.length > 0 && (
          <div className="flex shrink-0 items-center gap-3 border-b border-line bg-ask-soft px-4 py-1.5 text-sm text-ask sm:px-5">
            <Icon name="approvals" /> <span className="min-w-0 flex-1 truncate">{pending.length === 1 ? `${pending[0]?.name} waits for your answer` : `${pending.length} calls wait for your answer`}</span>
            <Button small onClick={() => { const first = pending[0]; if (first) { select(first); transcript.current?.show(view.items.indexOf(first)); } }}>Show</Button>
          </div>
        )}
        {reviews ? <Suspense fallback={<div className="min-h-0 flex-1"><Lines n={8} /></div>}><Changes session={session} onClose={review} /></Suspense> : view.loading ? <div className="min-h-0 flex-1"><Lines n={8} /></div> : view.items.length === 0 ? (
          <div className="min-h-0 flex-1 overflow-y-auto"><Empty icon="leaf" title="Nothing was said yet"><p>Write the first message below.</p></Empty></div>
        ) : (
          <Transcript session={id} items={view.items} earlier={view.earlier} more={() => void log?.more()} selected={current} onSelect={select} onRaw={raw} onFork={fork} reach={transcript} />
        )}
        <Composer session={session} blocked={blocked(session)} reach={composer} />
        {search.terminal && (
          <div className="h-[42%] min-h-56 shrink-0 border-t border-line max-md:fixed max-md:inset-x-0 max-md:top-12 max-md:bottom-0 max-md:z-20 max-md:h-auto">
            <Suspense fallback={<Lines n={3} />}><Dock session={session} items={view.items} machine={search.terminal} choose={(machine) => set({ terminal: machine })} onClose={() => set({ terminal: undefined })} /></Suspense>
          </div>
        )}
      </section>
      {open && (
        <div className={wide ? "w-[360px] shrink-0 border-l border-line xl:w-[400px]" : "fixed inset-x-0 top-12 bottom-0 z-20 border-t border-line"}>
          <Inspector session={session} loading={view.loading} items={view.items} events={view.events} panel={panel} setPanel={(next) => set({ panel: next })} selected={search.event} select={(event) => set({ event })} onClose={close} onSwitch={() => setSwitching(true)} />
        </div>
      )}
      <Fork session={session} at={forking} onClose={() => setForking(undefined)} />
      <Switch session={session} open={switching} onClose={() => setSwitching(false)} />
      <Confirm open={deleting} onClose={() => setDeleting(false)} title="Delete this session?" action="Delete" run={() => void attempt(remove(`/sessions/${id}`)).then((done) => done && navigate({ to: "/" }))}>
        Its log and its files go with it, and do not come back. Archive it instead to keep it readable.
      </Confirm>
    </div>
  );
}
