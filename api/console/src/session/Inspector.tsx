// Beside the conversation: the session's facts, its raw log, what its tools did.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import type { Event, Session } from "../api/model";
import { clock, count, full, money, span } from "../lib/format";
import { budgets, costs, environments, requests } from "../lib/queries";
import { useNow } from "../lib/store";
import { harness, state } from "../lib/words";
import { median, statistics, type Item } from "../transcript/fold";
import { Button, Copy, IconButton, Lines, Status } from "../ui/basics";
import { curl, exportUrl } from "./actions";
import { Resources } from "./Resources";
import { Threads } from "./Threads";

export const PANELS = [
  { key: "session", label: "Session" },
  { key: "events", label: "Events" },
  { key: "tools", label: "Tools" },
  { key: "resources", label: "Resources" },
  { key: "threads", label: "Threads" },
] as const;
export type Panel = (typeof PANELS)[number]["key"];

interface Props {
  session: Session;
  /** Nothing of the log is there yet. */
  loading: boolean;
  items: Item[];
  events: Event[];
  panel: Panel;
  setPanel: (panel: Panel) => void;
  selected: string | undefined;
  select: (event: string | undefined) => void;
  onClose: () => void;
  onSwitch: () => void;
}

export function Inspector(props: Props) {
  const { panel, setPanel, onClose } = props;
  // The conversation first: this is drawn when that is on the screen.
  const ready = useDeferredValue(!props.loading, false);
  return (
    <aside aria-label="Inspector" className="flex h-full min-h-0 flex-col bg-surface">
      <div className="flex h-[39px] shrink-0 items-center border-b border-line pr-1 pl-3">
        <div role="group" aria-label="Inspector views" className="flex h-full flex-1 gap-3.5 overflow-x-auto">
          {PANELS.map((one) => (
            <button key={one.key} type="button" aria-pressed={panel === one.key} onClick={() => setPanel(one.key)} className={`border-b-2 text-sm ${panel === one.key ? "border-accent font-medium" : "border-transparent text-soft hover:text-text"}`}>{one.label}</button>
          ))}
        </div>
        <IconButton icon="close" label="Close the inspector" keys="i" size={14} className="size-7!" onClick={onClose} />
      </div>
      {!ready && <Lines />}
      {ready && panel === "session" && <Facts {...props} />}
      {ready && panel === "events" && <Events {...props} />}
      {ready && panel === "tools" && <Tools items={props.items} />}
      {ready && panel === "resources" && <Resources session={props.session} />}
      {ready && panel === "threads" && <Threads session={props.session} items={props.items} select={props.select} />}
    </aside>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="grid grid-cols-[96px_minmax(0,1fr)] gap-3 py-1">
      <dt className="text-faint">{name}</dt>
      <dd className="min-w-0 wrap-anywhere">{children}</dd>
    </div>
  );
}

function Facts({ session, onSwitch }: Props) {
  const now = useNow();
  const { data: cost } = useQuery(costs);
  const { data: places } = useQuery(environments(true));
  const { data: traces } = useQuery({ ...requests(session.id), refetchInterval: session.status === "running" ? 4000 : false });
  const { data: limits } = useQuery(budgets);
  const is = state(session);
  const ended = session.status === "running" ? now : Date.parse(session.updated_at);
  const mine = limits?.filter((one) => {
    const scope = one.scope as { type?: string; id?: string };
    return scope.type === "workspace" || scope.id === session.id;
  });
  const place = places?.find((one) => one.id === session.environment_id);
  return (
    <div className="min-h-0 flex-1 overflow-y-auto p-4 text-sm" tabIndex={0}>
      <dl>
        <Fact name="Status"><Status tone={is.tone} label={is.label} /><div className="text-xs text-faint">{is.words}</div></Fact>
        <Fact name="Agent"><Link to="/agents/$agent" params={{ agent: session.agent.id }} className="text-accent hover:underline">{session.agent.name}</Link> <span className="text-faint">v{session.agent.version}</span></Fact>
        <Fact name="Model">{session.agent.model.id}</Fact>
        <Fact name="Harness">{harness(session)} <Button small look="quiet" className="-my-1" disabled={session.status === "running" || Boolean(session.archived_at)} onClick={onSwitch}>Switch</Button></Fact>
        <Fact name="Runs in">{place?.name ?? session.environment_id}</Fact>
        <Fact name="Began">{full(session.created_at)}</Fact>
        <Fact name="Lasted">{span(ended - Date.parse(session.created_at))}</Fact>
        <Fact name="Turns">{session.perennial?.turn ?? 0} <span className="text-faint">in {count(session.perennial?.head ?? 0)} events</span></Fact>
        <Fact name="Id"><span className="flex items-center"><span className="min-w-0 truncate font-mono text-xs" title={session.id}>{session.id}</span><Copy text={session.id} label="" name="Copy the id" /></span></Fact>
      </dl>
      <h2 className="mt-5 mb-1 font-semibold">Usage</h2>
      <dl className="tnum">
        <Fact name="Input">{count(session.usage.input_tokens)}</Fact>
        <Fact name="From cache">{count(session.usage.cache_read_input_tokens)}</Fact>
        <Fact name="Output">{count(session.usage.output_tokens)}</Fact>
        <Fact name="Cost">{cost?.has(session.id) ? money(cost.get(session.id) ?? 0) : "–"}</Fact>
      </dl>
      {mine && mine.length > 0 && (
        <>
          <h2 className="mt-5 mb-2 font-semibold">Budgets</h2>
          <ul className="space-y-3">{mine.map((one) => <li key={one.id}><Meter used={one.used + one.reserved} limit={one.limit} label={`${one.metric}, ${one.period === "day" ? "a day" : "in total"}`} /></li>)}</ul>
        </>
      )}
      {traces && traces.data.length > 0 && (
        <>
          <h2 className="mt-5 mb-1 font-semibold">Newest model requests</h2>
          <table className="tnum w-full text-xs">
            <thead className="text-left text-faint"><tr><th className="py-1 font-normal">At</th><th className="font-normal">Status</th><th className="text-right font-normal">First token</th><th className="text-right font-normal">Took</th></tr></thead>
            <tbody>
              {traces.data.slice(0, 8).map((one) => (
                <tr key={one.id} className="border-t border-line"><td className="py-1">{clock(one.created_at)}</td><td className={one.status >= 400 || one.status === 0 ? "text-bad" : ""}>{one.status || "none"}</td><td className="text-right">{one.ttft_ms == null ? "–" : span(one.ttft_ms)}</td><td className="text-right">{span(one.duration_ms)}</td></tr>
              ))}
            </tbody>
          </table>
        </>
      )}
      <h2 className="mt-5 mb-1 font-semibold">Take it along</h2>
      <div className="-ml-2.5 flex flex-wrap gap-1">
        <a href={exportUrl(session.id)} download className="inline-flex h-7 items-center gap-1.5 rounded-[7px] px-2.5 text-xs font-medium text-soft hover:bg-hover hover:text-text">Export as a file</a>
        <Copy text={() => `perennial attach ${session.id}`} label="Copy CLI command" />
        <Copy text={() => curl(`/sessions/${session.id}?include=extensions`)} label="Copy as curl" />
      </div>
    </div>
  );
}

export function Meter({ used, limit, label }: { used: number; limit: number; label: string }) {
  const share = limit > 0 ? Math.min(1, used / limit) : 1;
  const color = share >= 1 ? "bg-bad" : share >= 0.8 ? "bg-ask" : "bg-accent";
  return (
    <div>
      <div className="tnum mb-1 flex justify-between gap-3 text-xs"><span className="text-soft">{label}</span><span>{Math.round(share * 100)} %</span></div>
      <div role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(share * 100)} className="h-1.5 overflow-hidden rounded-full bg-sunken"><div className={`h-full rounded-full ${color}`} style={{ width: `${share * 100}%` }} /></div>
    </div>
  );
}

function Events({ session, events, selected, select }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const [filter, setFilter] = useState("");
  const words = useDeferredValue(filter);
  const length = events.length;
  const shown = useMemo(() => (words ? events.slice(0, length).filter((event) => event.payload.type.includes(words) || JSON.stringify(event.payload).includes(words)) : events), [events, length, words]);
  const virtual = useVirtualizer({ count: shown.length, getScrollElement: () => scroller.current, estimateSize: () => 28, overscan: 12 });
  const at = shown.findIndex((event) => event.payload.id === selected);
  const chosen = at < 0 ? undefined : shown[at];
  const followed = useRef(true);
  useEffect(() => {
    if (at >= 0) virtual.scrollToIndex(at, { align: "auto" });
  }, [at, virtual]);
  useEffect(() => {
    if (!selected && followed.current && shown.length > 0) virtual.scrollToIndex(shown.length - 1);
  }, [shown.length, selected, virtual]);
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <div className="p-2"><input aria-label="Filter events" className="field" placeholder="Filter by type or text" value={filter} onChange={(event) => setFilter(event.target.value)} /></div>
      <div ref={scroller} className="min-h-0 flex-1 overflow-y-auto border-t border-line" tabIndex={-1} onScroll={(event) => { const e = event.currentTarget; followed.current = e.scrollHeight - e.scrollTop - e.clientHeight < 40; }}>
        <ul aria-label="Events" className="relative" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map((row) => {
            const event = shown[row.index];
            return event && (
              <li key={event.seq} className="absolute inset-x-0 top-0 h-7" style={{ transform: `translateY(${row.start}px)` }}>
                <button type="button" aria-pressed={event === chosen} onClick={() => select(event === chosen ? undefined : event.payload.id)} className={`flex h-full w-full items-center gap-2.5 px-3 text-left text-xs focus-visible:-outline-offset-2 ${event === chosen ? "bg-accent-soft" : "hover:bg-hover"}`}>
                  <span className="tnum w-10 shrink-0 text-right text-faint">{event.seq}</span>
                  <span className="min-w-0 flex-1 truncate font-mono">{event.payload.type}</span>
                  <span className="tnum shrink-0 text-faint">{clock(event.at)}</span>
                </button>
              </li>
            );
          })}
        </ul>
      </div>
      {chosen && (
        <div className="flex max-h-[55%] shrink-0 flex-col border-t border-line">
          <div className="flex items-center gap-1 px-2 py-1">
            <span className="tnum min-w-0 flex-1 truncate text-xs text-faint" title={full(chosen.at)}>Event {chosen.seq}{chosen.actor ? ` · by ${chosen.actor}` : ""}</span>
            <Copy text={() => JSON.stringify(chosen.payload, null, 2)} label="JSON" />
            <Copy text={() => curl(`/sessions/${session.id}/log?after=${chosen.seq - 1}&limit=1`)} label="curl" />
            <Button small look="quiet" icon="download" onClick={() => download(`${chosen.payload.id}.json`, JSON.stringify(chosen.payload, null, 2))}>Save</Button>
          </div>
          <pre tabIndex={0} aria-label="Raw event" className="min-h-0 flex-1 overflow-auto bg-sunken px-3 py-2 font-mono text-xs leading-[18px] whitespace-pre-wrap wrap-anywhere focus-visible:-outline-offset-2">{JSON.stringify(chosen.payload, null, 2)}</pre>
        </div>
      )}
    </div>
  );
}

export function download(name: string, text: string) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const anchor = Object.assign(document.createElement("a"), { href: url, download: name });
  anchor.click();
  URL.revokeObjectURL(url);
}

function Tools({ items }: { items: Item[] }) {
  const counts = statistics(items);
  if (counts.length === 0) return <p className="p-5 text-sm text-faint">No tool was called yet.</p>;
  return (
    <div className="min-h-0 flex-1 overflow-y-auto p-4" tabIndex={0}>
      <table className="tnum w-full text-sm">
        <thead className="text-left text-xs text-faint"><tr><th className="py-1 font-normal">Tool</th><th className="text-right font-normal">Calls</th><th className="text-right font-normal">Failed</th><th className="text-right font-normal">Median</th></tr></thead>
        <tbody>
          {counts.map((one) => {
            const middle = median(one.ms);
            return <tr key={one.name} className="border-t border-line"><td className="py-1.5 font-mono text-xs">{one.name}</td><td className="text-right">{count(one.calls)}</td><td className={`text-right ${one.failures ? "text-bad" : ""}`}>{one.failures || "–"}</td><td className="text-right">{middle === undefined ? "–" : span(middle)}</td></tr>;
          })}
        </tbody>
      </table>
    </div>
  );
}
