// A tool call: what was asked, what came of it, and the answer it waits for.
import { memo, type ReactNode, useLayoutEffect, useRef, useState } from "react";
import { clock, full, span } from "../lib/format";
import { useNow } from "../lib/store";
import type { Tone } from "../lib/words";
import { Ansi } from "../transcript/ansi";
import { text, type Tool } from "../transcript/fold";
import { Button, Status } from "../ui/basics";
import { Icon, type IconName } from "../ui/Icon";
import { attempt, confirm, customResult, send } from "./actions";
import Diff from "./Diff";
import { about, MAIL, mailBody } from "./MailCard";
import { Images } from "./Message";

const STATES: Record<Tool["status"], { tone: Tone; label: string }> = {
  asks: { tone: "ask", label: "Needs you" },
  queued: { tone: "quiet", label: "Queued" },
  running: { tone: "busy", label: "Running" },
  done: { tone: "good", label: "Done" },
  failed: { tone: "bad", label: "Failed" },
  denied: { tone: "quiet", label: "Denied" },
};
export const ICONS: Record<string, IconName> = { bash: "terminal", read: "file", write: "edit", edit: "edit", glob: "search", grep: "search", ...Object.fromEntries(Object.entries(MAIL).map(([name, { icon }]) => [name, icon])) };
const OPEN = new Set(["bash", "edit", "write", "send_message", "delegate_task"]);

export function summary(tool: { name: string; input: Record<string, unknown> }): string {
  if (tool.name in MAIL) return about(tool);
  const { command, file_path, path, pattern, query, url } = tool.input as Record<string, string | undefined>;
  const told = command ?? file_path ?? pattern ?? path ?? query ?? url;
  if (typeof told === "string") return told.split("\n")[0] ?? "";
  const whole = JSON.stringify(tool.input);
  return whole === "{}" ? "" : whole;
}

export const ToolCard = memo(function ToolCard({ tool, session }: { tool: Tool; session: string }) {
  const [chosen, setChosen] = useState<boolean>();
  const open = chosen ?? (tool.status === "asks" || tool.status === "failed" || (tool.origin === "builtin" && OPEN.has(tool.name)));
  const { tone, label } = STATES[tool.status];
  return (
    <div className={`overflow-hidden rounded-lg border bg-surface ${tool.status === "asks" ? "border-ask" : "border-line"}`}>
      <button type="button" aria-expanded={open} onClick={() => setChosen(!open)} className="flex h-10 w-full items-center gap-2.5 px-3 text-left hover:bg-hover focus-visible:-outline-offset-2">
        <Icon name={ICONS[tool.name] ?? "tool"} className="text-faint" />
        <span className="shrink-0 text-sm font-medium" title={tool.name}>{(tool.origin === "builtin" && MAIL[tool.name]?.label) || tool.name}</span>
        {tool.server && <span className="shrink-0 text-xs text-faint">{tool.server}</span>}
        <span className="min-w-0 flex-1 truncate font-mono text-xs text-soft">{open && (tool.name === "bash" || tool.name in MAIL) ? "" : summary(tool)}</span>
        <Took tool={tool} />
        <Status tone={tone} label={label} className="text-xs!" />
        <Icon name="chevron" size={14} className={`text-faint transition-transform ${open ? "rotate-90" : ""}`} />
      </button>
      {open && (
        <div className="border-t border-line">
          <Body tool={tool} />
          {tool.verdict && (
            <p className="border-t border-line px-3 py-1.5 text-xs text-faint">
              {tool.verdict.result === "allow" ? "Allowed" : "Denied"}{tool.verdict.actor ? ` by ${tool.verdict.actor}` : ""} at <time title={full(tool.verdict.at)}>{clock(tool.verdict.at)}</time>{tool.verdict.message && <>: {tool.verdict.message}</>}
            </p>
          )}
          {tool.status === "asks" && <Answer tool={tool} session={session} />}
        </div>
      )}
    </div>
  );
});

function Took({ tool }: { tool: Tool }) {
  if (tool.endedAt && tool.dispatchedAt) {
    return <span className="tnum shrink-0 text-xs text-faint">{span(Date.parse(tool.endedAt) - Date.parse(tool.dispatchedAt))}</span>;
  }
  return tool.status === "running" && tool.dispatchedAt ? <Ticking since={tool.dispatchedAt} /> : null;
}

function Ticking({ since }: { since: string }) {
  const now = useNow();
  return <span className="tnum shrink-0 text-xs text-busy">{span(Math.floor(Math.max(0, now - Date.parse(since)) / 1000) * 1000)}</span>;
}

export function Body({ tool }: { tool: Pick<Tool, "origin" | "name" | "input" | "status"> & Partial<Tool> }): ReactNode {
  const input = tool.input as Record<string, string | undefined>;
  const output = text(tool.result);
  const images = <Images blocks={tool.result ?? []} />;
  if (tool.origin === "builtin" && tool.name === "bash") {
    return (
      <>
        <pre className="overflow-x-auto bg-sunken px-3 py-2 font-mono text-[12.5px] leading-5 whitespace-pre-wrap wrap-anywhere" aria-label="Command"><span className="text-accent select-none">$ </span>{input.command}</pre>
        <Output text={output || tool.live || ""} waiting={tool.status === "running"} />
        {images}
      </>
    );
  }
  if (tool.origin === "builtin" && (tool.name === "edit" || tool.name === "write") && typeof (input.new_string ?? input.content) === "string") {
    const before = tool.name === "edit" ? (input.old_string ?? "") : "";
    const after = (tool.name === "edit" ? input.new_string : input.content) ?? "";
    return (
      <>
        <Diff path={input.file_path ?? ""} before={before} after={after} />
        {tool.isError && <Output text={output} />}
      </>
    );
  }
  const mail = tool.origin === "builtin" && tool.name in MAIL ? mailBody(tool) : undefined;
  if (mail) return mail;
  return (
    <>
      <pre className="overflow-x-auto bg-sunken px-3 py-2 font-mono text-[12.5px] leading-5 whitespace-pre-wrap wrap-anywhere" aria-label="Input">{JSON.stringify(tool.input, null, 2)}</pre>
      <Output text={output} waiting={tool.status === "running"} />
      {images}
    </>
  );
}

const SHOWN = 24;

function Output({ text, waiting }: { text: string; waiting?: boolean }) {
  const [all, setAll] = useState(false);
  const end = useRef<HTMLPreElement>(null);
  // While it runs what is printed last is looked at.
  useLayoutEffect(() => {
    if (waiting && end.current) end.current.scrollTop = end.current.scrollHeight;
  }, [waiting, text]);
  if (!text) return waiting ? <p className="px-3 py-2 text-xs text-faint">Waiting for output…</p> : null;
  const lines = text.replace(/\n+$/, "").split("\n");
  const hidden = lines.length - SHOWN;
  const shown = all || hidden <= 4 ? lines : lines.slice(-SHOWN);
  return (
    <>
      {shown.length < lines.length && (
        <button type="button" onClick={() => setAll(true)} className="block w-full border-t border-line px-3 py-1 text-left text-xs text-accent hover:bg-hover">Show {hidden} lines more</button>
      )}
      <pre ref={end} tabIndex={0} aria-label="Output" className="max-h-[420px] overflow-auto border-t border-line px-3 py-2 font-mono text-[12.5px] leading-5 whitespace-pre-wrap wrap-anywhere first:border-t-0 focus-visible:-outline-offset-2"><Ansi text={shown.join("\n")} /></pre>
    </>
  );
}

/** The answer a call waits for. */
export function Answer({ tool, session, onDone }: { tool: Pick<Tool, "id" | "origin">; session: string; onDone?: () => void }) {
  const [message, setMessage] = useState("");
  const [busy, setBusy] = useState(false);
  async function answer(event: Record<string, unknown>) {
    setBusy(true);
    if (await attempt(send(session, event))) onDone?.();
    setBusy(false);
  }
  const custom = tool.origin === "custom";
  return (
    <form
      className="flex flex-wrap items-center gap-2 border-t border-line bg-ask-soft px-3 py-2.5"
      onSubmit={(event) => {
        event.preventDefault();
        void answer(custom ? customResult(tool.id, message, false) : message ? confirm(tool.id, false, message) : confirm(tool.id, true));
      }}
    >
      <input aria-label={custom ? "Result" : "Reason, told to the model when denied"} className="field min-w-40 flex-1" placeholder={custom ? "Its result" : "Reason, if you deny it"} value={message} onChange={(event) => setMessage(event.target.value)} />
      {custom ? (
        <>
          <Button look="danger" busy={busy} onClick={() => answer(customResult(tool.id, message, true))}>Send as error</Button>
          <Button look="primary" type="submit" busy={busy}>Send result</Button>
        </>
      ) : (
        <>
          <Button look="danger" busy={busy} onClick={() => answer(confirm(tool.id, false, message))}>Deny</Button>
          <Button look="primary" busy={busy} onClick={() => answer(confirm(tool.id, true))}>Allow</Button>
        </>
      )}
    </form>
  );
}
