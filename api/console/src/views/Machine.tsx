// One machine: a terminal on it, its files, and its ports.
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useEffect } from "react";
import { useShortcuts } from "../lib/keys";
import { executor as one } from "../lib/queries";
import { Empty, Lines, Problem, Status } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { Files } from "./Files";
import { HOME } from "./places";
import { Ports } from "./Ports";

const Pane = lazy(() => import("../terminal/Pane"));

const PANELS = [
  { key: "terminal", label: "Terminal" },
  { key: "files", label: "Files" },
  { key: "ports", label: "Ports" },
] as const;

export function Machine() {
  const { executor: id } = useParams({ from: "/shell/executors/$executor" });
  const search = useSearch({ from: "/shell/executors/$executor" });
  const navigate = useNavigate({ from: "/executors/$executor" });
  const { data, error } = useQuery(one(id));
  const panel = PANELS.find((one) => one.key === search.panel)?.key ?? "terminal";
  const show = (next: string) => void navigate({ search: (before) => ({ ...before, panel: next === "terminal" ? undefined : next }), replace: true });
  useShortcuts("Machine", [
    { keys: "g t", does: "Its terminal", run: () => show("terminal") },
    { keys: "g f", does: "Its files", run: () => show("files") },
    { keys: "g p", does: "Its ports", run: () => show("ports") },
  ]);
  useEffect(() => {
    document.title = data ? `${data.name} · Perennial` : "Perennial";
    return () => {
      document.title = "Perennial";
    };
  }, [data]);

  if (!data) {
    if (!error) return <Lines n={9} />;
    return <div className="pt-10"><Problem error={error} /><Empty icon="executors" title="This machine cannot be shown"><Link to="/executors" className="text-accent underline">All executors</Link></Empty></div>;
  }
  const online = data.status === "online";
  const card = (data.card ?? {}) as { os?: string; arch?: string; cwd?: string };
  return (
    <div className="flex h-full min-h-0 flex-col">
      <header className="flex h-14 shrink-0 items-center gap-3 border-b border-line px-3 sm:px-5">
        <Link to="/executors" aria-label="All executors" className="-ml-1 flex size-8 shrink-0 items-center justify-center rounded-md text-faint hover:bg-hover hover:text-text"><Icon name="chevron" className="rotate-180" /></Link>
        <div className="min-w-0 flex-1">
          <h1 className="truncate leading-5 font-semibold" title={data.id}>{data.name}</h1>
          <p className="truncate text-xs text-faint">{[card.os, card.arch].filter(Boolean).join(" ")}{card.cwd && <> · <span className="font-mono">{card.cwd}</span></>}</p>
        </div>
        <span className="pr-2 max-sm:hidden"><Status tone={online ? "good" : "quiet"} label={online ? "Online" : "Offline"} /></span>
        <div role="group" aria-label="Views of the machine" className="flex h-full gap-5">
          {PANELS.map((one) => (
            <button key={one.key} type="button" aria-pressed={panel === one.key} onClick={() => show(one.key)} className={`border-b-2 pt-0.5 text-sm ${panel === one.key ? "border-accent font-medium" : "border-transparent text-soft hover:text-text"}`}>{one.label}</button>
          ))}
        </div>
      </header>
      <div className="min-h-0 flex-1">
        {panel === "ports" ? <Ports executor={id} machine={data.name} online={online} /> : panel === "files" ? <Files executor={id} offered={card.cwd} path={search.path ?? HOME} go={(path) => void navigate({ search: (before) => ({ ...before, path: path === HOME ? undefined : path }) })} /> : (
          <Suspense fallback={<Lines />}>
            <Pane executor={id} machine={data.name} terminal={search.terminal ?? "main"} choose={(terminal) => void navigate({ search: (before) => ({ ...before, terminal: terminal === "main" ? undefined : terminal }), replace: true })} />
          </Suspense>
        )}
      </div>
    </div>
  );
}
