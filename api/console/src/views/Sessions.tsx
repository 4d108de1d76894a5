// All sessions: what each is doing, in words, as it happens. Filters are in the address, so a view can be kept as a bookmark.
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { lazy, memo, Suspense, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import type { Session } from "../api/model";
import { useFeed } from "../lib/feed";
import { ago, count, full, money, short, span } from "../lib/format";
import { useShortcuts } from "../lib/keys";
import { costs, environments, executors } from "../lib/queries";
import { useNow } from "../lib/store";
import { harness, last, line, state, title, tokens } from "../lib/words";
import { newSession } from "../shell/Shell";
import { Button, Empty, IconButton, Lines, Status } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { same, useSavedViews } from "./savedViews";

const SaveView = lazy(() => import("./SaveView"));

export interface SessionFilters {
  q?: string;
  view?: string;
  agent?: string;
  harness?: string;
}

const VIEWS = [
  { key: undefined, label: "All", has: (key: string) => key !== "archived" },
  { key: "running", label: "Running", has: (key: string) => key === "running" || key === "rescheduling" },
  { key: "waiting", label: "Needs you", has: (key: string) => key === "waiting" || key === "budget" },
  { key: "failed", label: "Failed", has: (key: string) => key === "failed" },
  { key: "idle", label: "Idle", has: (key: string) => key === "idle" || key === "new" },
  { key: "archived", label: "Archived", has: (key: string) => key === "archived" || key === "terminated" },
];

function matches(session: Session, filters: SessionFilters): boolean {
  if (filters.agent && session.agent.id !== filters.agent && session.agent.name !== filters.agent) return false;
  if (filters.harness && harness(session) !== filters.harness) return false;
  if (!filters.q) return true;
  const hay = `${session.title ?? ""} ${session.id} ${session.agent.name} ${session.agent.model.id} ${harness(session)} ${last(session) ?? ""}`.toLowerCase();
  return filters.q.toLowerCase().split(/\s+/).every((word) => hay.includes(word));
}

/** So long after the list is there, what shows a session is loaded as well: it is what comes next. */
const NEXT_MS = 600;

const GRID = "grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-4 px-4 sm:px-6 md:grid-cols-[112px_minmax(0,1fr)_minmax(0,160px)_64px_60px] xl:grid-cols-[120px_minmax(0,1fr)_minmax(0,160px)_minmax(0,112px)_64px_64px_64px_64px] 2xl:grid-cols-[128px_minmax(0,1fr)_minmax(0,240px)_minmax(0,180px)_80px_80px_80px_80px]";

export function Sessions() {
  const { sessions, complete, health } = useFeed();
  const filters = useSearch({ from: "/shell/" }) as SessionFilters;
  const navigate = useNavigate();
  const words = useDeferredValue(filters);
  const { data: cost } = useQuery(costs);
  const { data: places } = useQuery(environments(true));
  const { data: machines } = useQuery({ ...executors, refetchInterval: 15_000 });
  const named = useMemo(() => {
    const machine = new Map(machines?.map((one) => [one.id, one.name]));
    return new Map(places?.map((one) => [one.id, { name: one.name, machine: machine.get((one.config as { executor_id?: string }).executor_id ?? "") }]));
  }, [places, machines]);
  const saved = useSavedViews();
  const [naming, setNaming] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(0);

  const found = useMemo(() => sessions.filter((one) => matches(one, words)), [sessions, words]);
  const counts = useMemo(() => VIEWS.map((view) => found.reduce((sum, one) => sum + (view.has(state(one).key) ? 1 : 0), 0)), [found]);
  const view = VIEWS.find((one) => one.key === words.view) ?? VIEWS[0];
  const rows = useMemo(() => found.filter((one) => view?.has(state(one).key)), [found, view]);

  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => scroller.current, estimateSize: () => 60, overscan: 8 });
  useEffect(() => virtual.measure(), [virtual]);
  useEffect(() => {
    const timer = setTimeout(() => void import("../session/SessionView").catch(() => {}), NEXT_MS);
    return () => clearTimeout(timer);
  }, []);
  const current = Math.min(at, rows.length - 1);
  const go = (by: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, current + by));
    setAt(next);
    virtual.scrollToIndex(next);
    requestAnimationFrame(() => scroller.current?.querySelector<HTMLElement>(`[data-index="${next}"] a`)?.focus({ preventScroll: true }));
  };
  const set = (change: SessionFilters) => void navigate({ to: "/", search: (before) => Object.fromEntries(Object.entries({ ...before, ...change }).filter(([, value]) => value)), replace: true });

  useShortcuts("Sessions", [
    { keys: "/", does: "Filter", run: () => input.current?.focus() },
    { keys: "j", does: "Next session", run: () => go(1) },
    { keys: "k", does: "Previous session", run: () => go(-1) },
    { keys: "enter", does: "Open", run: () => rows[current] && void navigate({ to: "/sessions/$session", params: { session: rows[current].id } }) },
  ]);

  const filtered = Boolean(filters.q || filters.agent || filters.harness || filters.view);
  return (
    <div className="flex h-full flex-col">
      <header className="shrink-0 border-b border-line px-4 pt-3 sm:px-6">
        <div className="flex items-center gap-3">
          <h1 className="text-lg font-semibold">Sessions</h1>
          <label className="relative ml-auto block w-full max-w-72">
            <span className="sr-only">Filter sessions</span>
            <Icon name="search" className="absolute top-[9px] left-2.5 text-faint" />
            <input ref={input} type="search" className="field pl-8!" placeholder="Filter" value={filters.q ?? ""} onChange={(event) => set({ q: event.target.value })}
              onKeyDown={(event) => { if (event.key === "Escape") event.currentTarget.blur(); if (event.key === "ArrowDown") { event.preventDefault(); setAt(0); go(0); } }} />
          </label>
          <Button look="primary" icon="plus" className="max-md:hidden" onClick={newSession}>New session</Button>
        </div>
        <div role="group" aria-label="Views" className="-mb-px flex gap-5 overflow-x-auto pt-2">
          {VIEWS.map((one, index) => (
            <button key={one.label} type="button" aria-pressed={one === view} onClick={() => set({ view: one.key ?? "" })} className={`flex shrink-0 items-center gap-1.5 border-b-2 py-2 text-sm ${one === view ? "border-accent font-medium text-text" : "border-transparent text-soft hover:text-text"}`}>
              {one.label} <span className="tnum text-xs text-faint">{complete ? count(counts[index] ?? 0) : ""}</span>
            </button>
          ))}
          {saved.views.map((one) => {
            const here = same(one.filters, filters);
            return (
              <span key={one.name} className={`flex shrink-0 items-center gap-1 border-b-2 ${here ? "border-accent" : "border-transparent"}`}>
                <button type="button" aria-pressed={here} onClick={() => set({ q: "", view: "", agent: "", harness: "", ...one.filters })} className={`flex items-center gap-1.5 py-2 text-sm ${here ? "font-medium text-text" : "text-soft hover:text-text"}`}><Icon name="star" size={12} className="text-accent" /> {one.name}</button>
                {here && <IconButton icon="close" label={`Forget the view ${one.name}`} size={12} className="size-6!" onClick={() => saved.forget(one.name)} />}
              </span>
            );
          })}
          {(filters.q || filters.agent || filters.harness) && !saved.views.some((one) => same(one.filters, filters)) && (
            <button type="button" onClick={() => setNaming(true)} className="flex shrink-0 items-center gap-1.5 border-b-2 border-transparent py-2 text-sm text-accent hover:underline"><Icon name="star" size={12} /> Save this view</button>
          )}
          {(filters.agent || filters.harness) && (
            <button type="button" className="my-1.5 flex items-center gap-1 rounded-md bg-accent-soft px-2 text-xs text-accent" onClick={() => set({ agent: "", harness: "" })}>
              {filters.agent ? `Agent ${sessions.find((one) => one.agent.id === filters.agent)?.agent.name ?? filters.agent}` : filters.harness} <Icon name="close" size={12} /><span className="sr-only">remove filter</span>
            </button>
          )}
        </div>
      </header>
      <div className={`${GRID} hidden h-8 shrink-0 border-b border-line bg-sunken text-xs text-faint md:grid`} aria-hidden="true">
        <span>Status</span><span>Session</span><span>Agent</span><span className="max-xl:hidden">Runs in</span>
        <span className="text-right">Tokens</span><span className="text-right max-xl:hidden">Cost</span><span className="text-right max-xl:hidden">Took</span><span className="text-right">Changed</span>
      </div>
      <div ref={scroller} className="min-h-0 flex-1 overflow-y-auto" tabIndex={-1}>
        {!complete && sessions.length === 0 ? (
          health === "refused" || health === "reconnecting" ? <Empty icon="warn" title="The server does not answer">This page fills as soon as it does.</Empty> : <Lines n={10} />
        ) : rows.length === 0 ? (
          filtered ? (
            <Empty icon="search" title="No session matches"><p>Of {count(sessions.length)} none is like this.</p><p className="mt-4"><Button onClick={() => set({ q: "", view: "", agent: "", harness: "" })}>Show all</Button></p></Empty>
          ) : (
            <Empty icon="leaf" title="No sessions yet">
              <p>A session is one conversation with an agent: it survives restarts, crashes and changes of mind.</p>
              <p className="mt-5 flex flex-wrap justify-center gap-2"><Button look="primary" onClick={() => void navigate({ to: "/welcome" })}>Take the first steps</Button><Button icon="plus" onClick={newSession}>New session</Button></p>
            </Empty>
          )
        ) : (
          <ul aria-label="Sessions" className="relative" style={{ height: virtual.getTotalSize() }}>
            {virtual.getVirtualItems().map((item) => {
              const session = rows[item.index];
              return session && (
                <li key={session.id} data-index={item.index} aria-setsize={rows.length} aria-posinset={item.index + 1} className="absolute inset-x-0 top-0 h-[60px]" style={{ transform: `translateY(${item.start}px)` }}>
                  <Row session={session} cost={cost?.get(session.id)} place={named.get(session.environment_id)} onFocus={() => setAt(item.index)} />
                </li>
              );
            })}
          </ul>
        )}
      </div>
      {naming && <Suspense><SaveView onClose={() => setNaming(false)} onSave={(name) => { saved.save(name, filters); setNaming(false); }} /></Suspense>}
    </div>
  );
}

const Row = memo(function Row({ session, cost, place, onFocus }: { session: Session; cost: number | undefined; place: { name: string; machine: string | undefined } | undefined; onFocus: () => void }) {
  const is = state(session);
  const words = line(session);
  const hands = [place?.machine, ...(session.agent.executors ?? []).map((one) => one.name)].filter(Boolean).join(", ");
  return (
    <Link to="/sessions/$session" params={{ session: session.id }} preload={false} onFocus={onFocus} className={`${GRID} h-full border-b border-line hover:bg-hover focus-visible:-outline-offset-2`}>
      <Status tone={is.tone} label={is.label} className="max-md:hidden" />
      <span className="min-w-0">
        <span className="block truncate font-medium">{title(session)}</span>
        <span className="flex items-center gap-2 truncate text-sm text-soft"><Status tone={is.tone} label={is.label} className="text-xs! md:hidden" /><span className="truncate" title={words}>{words}</span></span>
      </span>
      <span className="min-w-0 max-md:hidden">
        <span className="block truncate text-sm">{session.agent.name}</span>
        <span className="block truncate text-xs text-faint">{session.agent.model.id}{harness(session) !== "native" && <> · {harness(session)}</>}</span>
      </span>
      <span className="min-w-0 max-xl:hidden">
        <span className="block truncate text-sm">{place?.name ?? "–"}</span>
        {hands && <span className="flex items-center gap-1 text-xs text-faint" title={`Tools run on ${hands}`}><Icon name="executors" size={12} /><span className="truncate">{hands}</span></span>}
      </span>
      <span className="tnum text-right text-sm text-soft max-md:hidden" title={`${count(tokens(session))} tokens`}>{short(tokens(session))}</span>
      <span className="tnum text-right text-sm text-soft max-xl:hidden">{cost === undefined ? "–" : money(cost)}</span>
      <span className="tnum text-right text-sm text-soft max-xl:hidden">{span(session.stats.duration_seconds * 1000)}</span>
      <Age at={session.updated_at} />
    </Link>
  );
});

function Age({ at }: { at: string }) {
  const now = useNow();
  return <time dateTime={at} title={full(at)} className="tnum text-right text-sm text-soft">{ago(at, now)}</time>;
}
