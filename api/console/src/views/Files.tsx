// Files of a machine: one walks through its folders, looks at a file, takes it along, or stores one there.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type FormEvent, useEffect, useMemo, useRef, useState } from "react";
import type { ExecutorEntry, ExecutorFolder } from "../api/schema";
import { ago, bytes, full } from "../lib/format";
import { ask, ROOT } from "../lib/http";
import { useShortcuts } from "../lib/keys";
import { useNow } from "../lib/store";
import { Button, Copy, Empty, IconButton, Lines, Problem } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { Dialog } from "../ui/overlay";
import { above, crumbs, HOME, tidy, within } from "./places";
import { Store } from "./Store";

/** A file up to this size is looked at before it is saved. */
const SHOWN = 512 * 1024;
const ROW = 32;

type Found =
  | { kind: "folder"; entries: ExecutorEntry[]; truncated: boolean }
  /** Without a text: it is none, or a long one. */
  | { kind: "file"; size: number; text?: string };

export const address = (executor: string, path: string) => `${ROOT}/executors/${executor}/files?path=${encodeURIComponent(path)}`;

async function look(executor: string, path: string, signal: AbortSignal): Promise<Found> {
  const control = new AbortController();
  signal.addEventListener("abort", () => control.abort());
  const response = await ask("GET", address(executor, path), undefined, control.signal);
  if (response.headers.get("content-type")?.startsWith("application/json")) {
    const { entries, truncated } = (await response.json()) as ExecutorFolder;
    return { kind: "folder", entries, truncated };
  }
  const size = Number(response.headers.get("content-length") ?? Number.NaN);
  if (!(size <= SHOWN)) {
    control.abort();
    return { kind: "file", size };
  }
  const read = new Uint8Array(await response.arrayBuffer());
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(read);
    return text.includes("\u0000") ? { kind: "file", size } : { kind: "file", size, text };
  } catch {
    return { kind: "file", size };
  }
}

/** The browser saves it as it comes: no file has to fit into a page. */
function save(executor: string, path: string) {
  Object.assign(document.createElement("a"), { href: address(executor, path), download: path.split("/").at(-1) || "file" }).click();
}

interface Props {
  executor: string;
  /** The folder the machine offers. */
  offered: string | undefined;
  path: string;
  go: (path: string) => void;
}

export function Files({ executor, offered, path: given, go }: Props) {
  const path = tidy(given, offered);
  const client = useQueryClient();
  const question = (path: string) => ({ queryKey: ["files", executor, path], queryFn: ({ signal }: { signal: AbortSignal }) => look(executor, path, signal), retry: false });
  const here = useQuery(question(path));
  const file = here.data?.kind === "file" ? here.data : undefined;
  const missing = here.error && !here.data;
  const folder = file || missing ? above(path) : path;
  const around = useQuery({ ...question(folder), enabled: folder !== path });
  const listed = folder === path ? here : around;
  const listing = listed.data?.kind === "folder" ? listed.data : undefined;
  // What was listed stays while the next folder is on its way.
  const shown = useRef<{ folder: string; entries: ExecutorEntry[]; truncated: boolean }>(undefined);
  if (listing) shown.current = { folder, entries: listing.entries, truncated: listing.truncated };
  const [storing, setStoring] = useState(false);
  const again = () => client.invalidateQueries({ queryKey: ["files", executor] });
  useShortcuts("Files", [
    { keys: "u", does: "The folder above", run: () => go(above(path)) },
    { keys: "s", does: "Store a file here", run: () => setStoring(true) },
  ]);
  return (
    <div className="flex h-full min-h-0 flex-col">
      <div className="flex min-h-12 shrink-0 flex-wrap items-center gap-x-2 gap-y-1 border-b border-line px-3 py-1.5 sm:px-5">
        <nav aria-label="Folders" className="flex min-w-0 flex-1 flex-wrap items-center text-sm">
          <Crumb current={path === HOME} title={offered} onClick={() => go(HOME)}>{offered?.split("/").at(-1) || "The folder it offers"}</Crumb>
          {crumbs(path).map((one) => <span key={one.path} className="flex min-w-0 items-center"><span aria-hidden="true" className="px-0.5 text-faint">/</span><Crumb current={one.path === path} onClick={() => go(one.path)}>{one.name}</Crumb></span>)}
        </nav>
        <Path path={path} go={(next) => go(tidy(next, offered))} />
        <IconButton icon="retry" label="Look again" onClick={() => void again()} />
        <Button small icon="upload" keys="s" className="h-8!" onClick={() => setStoring(true)}>Store</Button>
      </div>
      <div className="grid min-h-0 flex-1 md:grid-cols-[minmax(240px,360px)_minmax(0,1fr)]">
        <div className={`min-h-0 border-line md:border-r ${file || missing ? "max-md:hidden" : ""}`}>
          {shown.current ? <Entries {...shown.current} selected={path} go={go} /> : here.isPending || around.isFetching ? <Lines n={8} /> : null}
        </div>
        <div className={`min-h-0 overflow-y-auto ${file || missing ? "" : "max-md:hidden"}`} tabIndex={-1}>
          {missing ? <Problem error={here.error} retry={() => void here.refetch()} /> : file ? <Shown executor={executor} path={path} file={file} /> : here.isPending ? <Lines /> : <Empty icon="file" title="No file is chosen"><p>Choose one to look at it, or name its path above.</p></Empty>}
        </div>
      </div>
      <Dialog open={storing} onClose={() => setStoring(false)} title="Store a file there">{storing && <Store address={(path) => address(executor, path)} folder={folder === HOME ? "" : `${folder}/`} onDone={(stored) => { setStoring(false); void again(); go(tidy(stored, offered)); }} />}</Dialog>
    </div>
  );
}

function Crumb({ children, current, title, onClick }: { children: string; current: boolean; title?: string | undefined; onClick: () => void }) {
  return <button type="button" aria-current={current ? "location" : undefined} title={title ?? children} onClick={onClick} className={`max-w-48 truncate rounded px-1 py-0.5 hover:bg-hover ${current ? "font-medium" : "text-soft"}`}>{children}</button>;
}

/** Whoever knows where it is need not walk there. */
function Path({ path, go }: { path: string; go: (path: string) => void }) {
  const [text, setText] = useState("");
  useEffect(() => setText(""), [path]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) go(text);
  };
  return (
    <form onSubmit={submit} className="w-44 max-sm:order-last max-sm:w-full">
      <input aria-label="Open a path" className="field h-8! font-mono text-xs!" placeholder="Open a path" value={text} onChange={(event) => setText(event.target.value)} />
    </form>
  );
}

const ORDER: Record<string, number> = { folder: 0 };

function Entries({ folder, entries, truncated, selected, go }: { folder: string; entries: ExecutorEntry[]; truncated: boolean; selected: string; go: (path: string) => void }) {
  const scroller = useRef<HTMLDivElement>(null);
  const now = useNow();
  const sorted = useMemo(() => [...entries].sort((a, b) => (ORDER[a.type] ?? 1) - (ORDER[b.type] ?? 1) || a.name.localeCompare(b.name, "en", { numeric: true })), [entries]);
  const virtual = useVirtualizer({ count: sorted.length, getScrollElement: () => scroller.current, estimateSize: () => ROW, overscan: 12 });
  if (sorted.length === 0) return <Empty icon="file" title="This folder is empty" />;
  return (
    <div ref={scroller} className="h-full overflow-y-auto py-1" tabIndex={-1}>
      {truncated && <p className="px-4 py-1.5 text-xs text-ask">Only {sorted.length} of its entries are shown: name a path to open another.</p>}
      <ul aria-label="Entries" className="relative" style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map((row) => {
          const one = sorted[row.index];
          if (!one) return null;
          const path = within(folder, one.name);
          return (
            <li key={one.name} aria-setsize={sorted.length} aria-posinset={row.index + 1} className="absolute inset-x-0 top-0 h-8" style={{ transform: `translateY(${row.start}px)` }}>
              <button type="button" disabled={one.type === "other"} aria-current={path === selected ? "true" : undefined} onClick={() => go(path)} className={`flex h-full w-full items-center gap-2.5 px-4 text-left text-sm focus-visible:-outline-offset-2 disabled:text-faint ${path === selected ? "bg-accent-soft" : "hover:bg-hover"}`}>
                <Icon name={one.type === "folder" ? "folder" : one.type === "link" ? "link" : "file"} className={one.type === "folder" ? "text-accent" : "text-faint"} />
                <span className="min-w-0 flex-1 truncate" title={one.name}>{one.name}{one.type === "folder" && <span className="sr-only">, a folder</span>}</span>
                <span className="tnum shrink-0 text-xs text-faint">{one.bytes == null ? "" : bytes(one.bytes)}</span>
                <span className="tnum w-12 shrink-0 text-right text-xs text-faint" title={one.modified_at ? full(one.modified_at) : ""}>{one.modified_at ? ago(one.modified_at, now) : ""}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </div>
  );
}

function Shown({ executor, path, file }: { executor: string; path: string; file: Found & { kind: "file" } }) {
  const name = path.split("/").at(-1) ?? path;
  return (
    <div className="flex min-h-full flex-col">
      <div className="sticky top-0 flex min-h-10 shrink-0 items-center gap-2 border-b border-line bg-canvas px-4">
        <h2 className="min-w-0 flex-1 truncate font-mono text-sm" title={path}>{name}</h2>
        <span className="tnum shrink-0 text-xs text-faint">{Number.isNaN(file.size) ? "" : bytes(file.size)}</span>
        {file.text !== undefined && <Copy text={file.text} name="Copy the text" />}
        <Button small look="quiet" icon="download" onClick={() => save(executor, path)}>Save</Button>
      </div>
      {file.text === undefined ? (
        <Empty icon="file" title="It cannot be shown here"><p>It is no text, or too long. Save it to look at it.</p></Empty>
      ) : (
        <pre tabIndex={0} aria-label={`Text of ${name}`} className="flex-1 overflow-x-auto bg-surface px-4 py-3 font-mono text-[12.5px] leading-5 whitespace-pre-wrap wrap-anywhere focus-visible:-outline-offset-2">{file.text || <span className="text-faint">It is empty.</span>}</pre>
      )}
    </div>
  );
}
