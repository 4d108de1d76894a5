// What was said, thought and noticed.
import { Link } from "@tanstack/react-router";
import { memo, type ReactNode } from "react";
import type { Block } from "../api/model";
import { count, span } from "../lib/format";
import type { Message as Said, Notice, TurnEnd } from "../transcript/fold";
import { Markdown } from "../transcript/markdown";
import { Chip } from "../ui/basics";
import { Icon } from "../ui/Icon";

const NAMES = { user: "You", agent: "Agent", thinking: "Thought", operator: "Operator", mail: "Mail" };

export const Message = memo(function Message({ said }: { said: Said }) {
  if (said.kind === "thinking") {
    return (
      <div className="flex items-center gap-2 py-0.5 text-sm text-faint">
        <Icon name="think" /> {said.streaming ? <span className="pulse">Working…</span> : said.text ? <details><summary>Thought</summary><p className="whitespace-pre-wrap">{said.text}</p></details> : "Thought"}
      </div>
    );
  }
  const mine = said.kind !== "agent";
  return (
    <div className={mine ? "rounded-lg border border-line bg-surface px-4 py-3" : ""}>
      {mine && (
        <div className="mb-1 flex items-center gap-2 text-xs font-medium text-faint">
          {said.kind === "mail" ? <Sender said={said} /> : <span>{NAMES[said.kind]}</span>}
          {said.queued && <Chip tone="busy" title="The model reads it with its next step">Queued</Chip>}
        </div>
      )}
      {said.subject && <p className="font-semibold wrap-anywhere">{said.subject}</p>}
      {mine ? <p className="whitespace-pre-wrap wrap-anywhere">{said.text}</p> : said.streaming ? <div className="caret wrap-anywhere whitespace-pre-wrap">{said.text}</div> : <Markdown text={said.text} />}
      <Images blocks={said.blocks} />
    </div>
  );
});

function Sender({ said }: { said: Said }) {
  const from = said.from ?? "";
  return (
    <span className="flex min-w-0 items-center gap-1.5">
      <Icon name="mail" size={14} /> Mail from
      {from.startsWith("session/") ? <Link to="/sessions/$session" params={{ session: from.slice(8) }} className="text-accent underline underline-offset-2">a session</Link> : <span className="truncate text-soft" title={from}>{from.startsWith("key/") ? "a person or a program" : from}</span>}
    </span>
  );
}

/** Pictures that are in the log itself; others are named, and never loaded. */
export function Images({ blocks }: { blocks: Block[] }): ReactNode {
  const shown = blocks.filter((block) => block.type === "image" || block.type === "document");
  if (shown.length === 0) return null;
  return (
    <div className="flex flex-wrap gap-2 p-3">
      {shown.map((block, at) =>
        block.type === "image" && block.source?.type === "base64" && /^image\/(png|jpeg|gif|webp)$/.test(block.source.media_type ?? "") ? (
          <img key={at} alt={`Attachment ${at + 1}`} src={`data:${block.source.media_type};base64,${block.source.data}`} className="max-h-72 rounded-md border border-line" />
        ) : (
          <Chip key={at}><Icon name={block.type === "image" ? "image" : "file"} size={12} /> {block.source?.url ?? block.type}</Chip>
        ),
      )}
    </div>
  );
}

const ENDS: Record<TurnEnd["reason"], { words: string; tone: string }> = {
  end_turn: { words: "Turn finished", tone: "text-faint" },
  requires_action: { words: "Waits for you", tone: "text-ask" },
  retries_exhausted: { words: "Gave up after retries", tone: "text-bad" },
  budget_reached: { words: "Rests: budget used up", tone: "text-ask" },
  refusal: { words: "The model refused", tone: "text-bad" },
};

export function End({ end }: { end: TurnEnd }) {
  const { words, tone } = ENDS[end.reason] ?? ENDS.end_turn;
  return (
    <div className="flex items-center gap-3 text-xs text-faint">
      <span className="h-px flex-1 bg-line" />
      <span className="tnum flex flex-wrap justify-center gap-x-2"><span className={tone}>{words}</span>{end.ms > 0 && <span>· {span(end.ms)}</span>}{end.requests > 0 && <span>· {count(end.input)} in, {count(end.output)} out</span>}</span>
      <span className="h-px flex-1 bg-line" />
    </div>
  );
}

export function NoticeLine({ notice }: { notice: Notice }) {
  const tones = { quiet: "text-soft", warn: "text-ask", bad: "text-bad" };
  return (
    <div className={`flex gap-2 rounded-lg px-3 py-2 text-sm ${notice.tone === "bad" ? "bg-bad-soft" : notice.tone === "warn" ? "bg-ask-soft" : "bg-sunken"} ${tones[notice.tone]}`}>
      <Icon name={notice.tone === "quiet" ? "clock" : "warn"} className="mt-0.5" />
      <div className="min-w-0 wrap-anywhere">
        {notice.text}
        {notice.link && <> · <Link to="/sessions/$session" params={{ session: notice.link }} className="text-accent underline underline-offset-2">open it</Link></>}
        {notice.detail && (notice.detail.length > 160 ? <details className="mt-1 text-xs"><summary>Details</summary><p className="mt-1 whitespace-pre-wrap">{notice.detail}</p></details> : <div className="text-xs opacity-90">{notice.detail}</div>)}
      </div>
    </div>
  );
}
