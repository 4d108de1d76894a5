// What has changed in the repository a session works in, side by side, and as a patch to take along.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import type { DiffFile, Session, SessionDiff } from "../api/model";
import { plural } from "../lib/format";
import { get, Refused, refusal, ROOT } from "../lib/http";
import { changed, type Changed } from "../transcript/patch";
import { Button, Copy, Empty, IconButton, Lines, Problem } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { attempt } from "./actions";
import { Rows } from "./Diff";

const SINCE = [
  { key: "", label: "Since it began" },
  { key: "base=HEAD", label: "Not committed" },
  { key: "base=HEAD&staged=true", label: "Staged" },
];
const MARKS: Record<DiffFile["status"], { letter: string; words: string; color: string }> = {
  added: { letter: "A", words: "new", color: "text-good" },
  deleted: { letter: "D", words: "deleted", color: "text-bad" },
  renamed: { letter: "R", words: "renamed", color: "text-busy" },
  copied: { letter: "C", words: "copied", color: "text-busy" },
  type_changed: { letter: "T", words: "of another type", color: "text-ask" },
  modified: { letter: "M", words: "changed", color: "text-ask" },
};
/** Rows that are drawn of a file before somebody asks for more; files with more begin closed. */
const SHOWN = 400;
/** Files that begin open. */
const OPEN = 12;

/** What is no failure, in words of its own; where there are none the server's say it. */
const CALM: Record<string, { title: string; words: string }> = {
  no_workspace: { title: "Nothing has run yet", words: "A session has a folder from its first call of a tool on." },
  no_diff: { title: "Nothing to compare with", words: "" },
  executor_offline: { title: "Its machine is not reached", words: "" },
};

export default function Changes({ session, onClose }: { session: Session; onClose: () => void }) {
  const [since, setSince] = useState("");
  const asked = useQuery({ queryKey: ["diff", session.id, since], queryFn: ({ signal }) => get<SessionDiff>(`/sessions/${session.id}/diff${since && `?${since}`}`, signal), staleTime: 0 });
  const { data, error, isFetching, refetch } = asked;
  const parts = useMemo(() => data && changed(data.files, data.patch), [data]);
  const rests = session.status === "idle";
  const before = useRef(rests);
  // A turn that ends has left its work behind.
  useEffect(() => {
    if (rests && !before.current) void refetch();
    before.current = rests;
  }, [rests, refetch]);
  const scroller = useRef<HTMLDivElement>(null);
  const go = (at: number) => scroller.current?.querySelector(`[data-file="${at}"]`)?.scrollIntoView({ block: "start" });

  async function save() {
    const response = await attempt(fetch(`${ROOT}/sessions/${session.id}/diff${since && `?${since}`}`, { headers: { accept: "text/x-patch" } }).then(async (answer) => {
      if (!answer.ok) throw await refusal(answer);
      return answer.blob();
    }));
    if (!response) return;
    const url = URL.createObjectURL(response);
    Object.assign(document.createElement("a"), { href: url, download: `${session.id}.patch` }).click();
    // The browser reads it after the click.
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  const sums = data?.files.reduce((sum, file) => ({ added: sum.added + (file.additions ?? 0), removed: sum.removed + (file.deletions ?? 0) }), { added: 0, removed: 0 });
  const calm = error instanceof Refused ? CALM[error.code ?? ""] : undefined;
  const told = error instanceof Error ? error.message.replace(/^\. /, "The session’s folder ") : "";
  return (
    <section aria-label="Changes" className="@container flex min-h-0 flex-1 flex-col">
      <div className="flex min-h-[39px] shrink-0 flex-wrap items-center gap-x-1 border-b border-line bg-surface py-1 pr-1 pl-3 @md:gap-x-3 sm:pl-5">
        <select aria-label="Changes since" className="field h-7! min-h-7! w-auto! max-w-36 py-0! pr-1! text-xs!" value={since} onChange={(event) => setSince(event.target.value)}>
          {SINCE.map((one) => <option key={one.key} value={one.key}>{one.label}</option>)}
        </select>
        <span role="status" className="tnum ml-1.5 flex min-w-0 gap-2 text-xs text-soft">
          {data && sums && <>{plural(data.files.length, "file")} <span className="text-good">+{sums.added}</span> <span className="text-bad">−{sums.removed}</span></>}
        </span>
        <span className="flex-1" />
        <IconButton icon="retry" label="Look again" size={14} className={`size-7! ${isFetching ? "pulse" : ""}`} disabled={isFetching} onClick={() => void refetch()} />
        <Button small look="quiet" icon="download" className="@max-md:px-1.5!" disabled={!data || data.files.length === 0} onClick={save}><span className="@max-md:sr-only">Save as patch</span></Button>
        <span className="hidden @3xl:inline"><Copy text={() => `perennial session diff ${session.id}`} label="Copy CLI command" /></span>
        <IconButton icon="close" label="Close the changes" keys="v" size={14} className="size-7!" onClick={onClose} />
      </div>
      {calm ? (
        <Empty icon="diff" title={calm.title}>
          <p>{calm.words || told}</p>
          <p className="mt-4"><Button icon="retry" busy={isFetching} onClick={() => void refetch()}>Look again</Button></p>
        </Empty>
      ) : error && !data ? <Problem error={error} retry={() => void refetch()} /> : !data ? <><Lines n={8} /><p className="px-5 text-xs text-faint">Its machine is asked; one that is away is waited for a little.</p></> : data.files.length === 0 ? (
        <Empty icon="check" title="Nothing has changed"><p>{since ? "The repository is as its newest commit has it." : "The repository is as this session found it."}</p></Empty>
      ) : (
        <div className="flex min-h-0 flex-1">
          {data.files.length > 1 && (
            <nav aria-label="Changed files" className="hidden w-56 shrink-0 overflow-y-auto border-r border-line bg-surface py-2 @4xl:block">
              <ul>
                {data.files.map((file, at) => (
                  <li key={at}>
                    <button type="button" onClick={() => go(at)} title={file.path} className="flex h-7 w-full items-center gap-2 px-3 text-left text-xs hover:bg-hover focus-visible:-outline-offset-2">
                      <Letter file={file} /> <span className="min-w-0 flex-1 truncate font-mono [direction:rtl]"><bdi>{file.path}</bdi></span>
                    </button>
                  </li>
                ))}
              </ul>
            </nav>
          )}
          <div ref={scroller} tabIndex={-1} className="min-h-0 min-w-0 flex-1 space-y-3 overflow-y-auto p-3 sm:px-5">
            {parts ? parts.map((part, at) => <Part key={`${since} ${part.file.path}`} part={part} at={at} />) : (
              <pre tabIndex={0} aria-label="Patch" className="overflow-x-auto rounded-lg border border-line bg-sunken px-3 py-2 font-mono text-xs">{data.patch}</pre>
            )}
          </div>
        </div>
      )}
    </section>
  );
}

function Letter({ file }: { file: DiffFile }) {
  const { letter, words, color } = MARKS[file.status] ?? MARKS.modified;
  return <span className={`w-3 shrink-0 text-center font-mono text-xs font-semibold ${color}`}><span aria-hidden="true">{letter}</span><span className="sr-only">{words}</span></span>;
}

function Part({ part: { file, rows }, at }: { part: Changed; at: number }) {
  const [open, setOpen] = useState(at < OPEN && rows.length <= SHOWN);
  const [all, setAll] = useState(false);
  const shown = all ? rows : rows.slice(0, SHOWN);
  return (
    <div data-file={at} className="overflow-hidden rounded-lg border border-line bg-surface">
      <button type="button" aria-expanded={open} onClick={() => setOpen(!open)} className="flex h-9 w-full items-center gap-2.5 bg-sunken px-3 text-left text-xs hover:bg-hover focus-visible:-outline-offset-2">
        <Icon name="chevron" size={14} className={`text-faint transition-transform ${open ? "rotate-90" : ""}`} />
        <Letter file={file} />
        <span className="min-w-0 flex-1 truncate font-mono" title={file.path}>{file.previous_path ? `${file.previous_path} → ${file.path}` : file.path}</span>
        {file.additions === null ? <span className="text-faint">binary</span> : <span className="tnum flex gap-2"><span className="text-good">+{file.additions}</span><span className="text-bad">−{file.deletions}</span></span>}
      </button>
      {open && (
        <div tabIndex={0} role="region" aria-label={`Changes of ${file.path}`} className="overflow-x-auto border-t border-line font-mono text-[12.5px] leading-5 focus-visible:-outline-offset-2">
          {rows.length === 0 ? <p className="px-3 py-2 font-sans text-xs text-faint">{file.additions === null ? "Its bytes are in the patch." : "Its content is as it was."}</p> : <Rows rows={shown} created={file.status === "added"} />}
          {shown.length < rows.length && <button type="button" onClick={() => setAll(true)} className="block w-full border-t border-line px-3 py-1 text-left font-sans text-xs text-accent hover:bg-hover">Show {rows.length - shown.length} rows more</button>}
        </div>
      )}
    </div>
  );
}
