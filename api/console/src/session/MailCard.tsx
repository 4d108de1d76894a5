// Mail tools in a conversation: what was written to whom, who can be written to, what came, and tasks that others do.
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { plural, span } from "../lib/format";
import { address, iconOf } from "../mail/words";
import { text, type Tool } from "../transcript/fold";
import { Icon } from "../ui/Icon";
import type { IconName } from "../ui/Icon";

export const MAIL: Record<string, { icon: IconName; label: string }> = {
  send_message: { icon: "mail", label: "Writes mail" },
  read_mail: { icon: "mail", label: "Reads its mail" },
  delegate_task: { icon: "fork", label: "Delegates a task" },
  cancel_task: { icon: "stop", label: "Stops a task" },
  list_agents: { icon: "agents", label: "Looks who takes mail" },
};

type Call = Pick<Tool, "name" | "input" | "status"> & Partial<Tool>;

const string = (value: unknown) => (typeof value === "string" ? value : "");

/** What a call is about, in its head. */
export function about(tool: Pick<Tool, "name" | "input">): string {
  const { to, subject, prompt, task_id } = tool.input;
  return [string(to), string(subject) || string(prompt).split("\n")[0], string(task_id)].filter(Boolean).join(" · ");
}

/** The body of a card; nothing when the call is not as it should be, which is then shown as it is. */
export function mailBody(tool: Call): ReactNode {
  if (tool.isError && tool.name !== "send_message") return undefined;
  if (tool.name === "send_message") {
    const to = string(tool.input.to);
    if (!to || typeof tool.input.content !== "string") return undefined;
    const sent = !tool.isError && / as (\w+)\. /.exec(text(tool.result))?.[1];
    return (
      <div className="px-4 py-3">
        <p className="flex min-w-0 items-center gap-1.5 text-xs text-faint">To <Icon name={iconOf(to)} size={14} /> <span className="min-w-0 truncate font-medium text-text">{to}</span>{tool.input.in_reply_to ? <span className="shrink-0">· an answer</span> : null}</p>
        {string(tool.input.subject) && <p className="mt-1.5 font-semibold wrap-anywhere">{string(tool.input.subject)}</p>}
        <p className="mt-1 max-h-96 overflow-y-auto whitespace-pre-wrap wrap-anywhere">{tool.input.content}</p>
        {tool.isError && <p className="mt-2 rounded-lg bg-bad-soft px-3 py-1.5 text-sm text-bad wrap-anywhere">{text(tool.result)}</p>}
        {sent && address(to) && <p className="mt-2 text-xs"><Link to="/mail" search={{ box: to, message: sent }} className="text-accent underline underline-offset-2">What became of it</Link></p>}
      </div>
    );
  }
  if (tool.name === "delegate_task") {
    const to = string(tool.input.to);
    if (!to || typeof tool.input.prompt !== "string") return undefined;
    const { max_turns, timeout } = tool.input as { max_turns?: number; timeout?: number };
    const terms = [typeof max_turns === "number" && `at most ${plural(max_turns, "turn")}`, typeof timeout === "number" && `within ${span(timeout * 1000)}`].filter(Boolean).join(", ");
    return (
      <div className="px-4 py-3">
        <p className="flex min-w-0 items-center gap-1.5 text-xs text-faint">To <Icon name={iconOf(to)} size={14} /> <span className="min-w-0 truncate font-medium text-text">{to}</span>{terms && <span className="shrink-0">· {terms}</span>}</p>
        <p className="mt-1 max-h-96 overflow-y-auto whitespace-pre-wrap wrap-anywhere">{tool.input.prompt}</p>
        {tool.result && <p className="mt-2 text-xs text-faint">{address(to) ? <Link to="/mail" search={{ box: to, message: (tool.id ?? "").replace(/^sevt_/, "msg_") }} className="text-accent underline underline-offset-2">What became of it</Link> : null} What comes of it is mail to this session.</p>}
      </div>
    );
  }
  const lines = text(tool.result).split("\n");
  if (tool.name === "list_agents" && tool.result && lines.every((line) => /^agent\/\S+: /.test(line))) {
    return (
      <ul className="divide-y divide-line">
        {lines.map((line) => {
          const colon = line.indexOf(": ");
          return <li key={line} className="flex gap-3 px-3 py-1.5 text-sm"><span className="shrink-0 font-mono text-xs leading-5">{line.slice(0, colon)}</span><span className="min-w-0 text-soft wrap-anywhere">{line.slice(colon + 2)}</span></li>;
        })}
      </ul>
    );
  }
  if ((tool.name === "list_agents" || tool.name === "read_mail" || tool.name === "cancel_task") && tool.result) return <p className="max-h-96 overflow-y-auto px-4 py-3 text-sm whitespace-pre-wrap wrap-anywhere">{text(tool.result)}</p>;
  return undefined;
}
