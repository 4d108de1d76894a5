// What waits for somebody, across all sessions, and what was answered. One answers with two keys, one by one or many at once.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import type { Approval } from "../api/model";
import { plural } from "../lib/format";
import { useShortcuts } from "../lib/keys";
import { approvals } from "../lib/queries";
import { attempt, confirm, send } from "../session/actions";
import { Answer, Body, ICONS } from "../session/ToolCard";
import { Button, Card, Empty, Kbd, Lines, Page, Problem } from "../ui/basics";
import { Choice } from "../ui/Choice";
import { Icon } from "../ui/Icon";
import { tell } from "../ui/messages";
import { Answered } from "./Answered";

const origin = (type: string) => (type === "agent.custom_tool_use" ? "custom" : type === "agent.mcp_tool_use" ? "mcp" : "builtin");

export function Approvals() {
  const { show } = useSearch({ from: "/shell/approvals" });
  const navigate = useNavigate({ from: "/approvals" });
  const answered = show === "answered";
  const switched = <Choice label="Show" value={answered ? "answered" : "waiting"} options={[["waiting", "Waiting"], ["answered", "Answered"]]} onChange={(next) => void navigate({ search: next === "answered" ? { show: next } : {}, replace: true })} />;
  return answered ? <Page title="Approvals" aside={switched}><Answered /></Page> : <Waiting switched={switched} />;
}

function Waiting({ switched }: { switched: ReactNode }) {
  const client = useQueryClient();
  const { data, error, refetch } = useQuery(approvals);
  const [at, setAt] = useState(0);
  const [marked, setMarked] = useState<Set<string>>(new Set());
  const all = data ?? [];
  const current = all[Math.min(at, all.length - 1)];
  const again = () => client.invalidateQueries({ queryKey: ["approvals"] });

  async function answer(which: Approval[], allow: boolean) {
    // One request for each session: its answers arrive together, and it goes on once.
    const bySession = Map.groupBy(which.filter((one) => one.answer === "user.tool_confirmation"), (one) => one.session_id);
    const done = await Promise.all([...bySession].map(([session, ones]) => attempt(send(session, ...ones.map((one) => confirm(one.tool_use.id, allow))))));
    if (done.some(Boolean)) tell(`${allow ? "Allowed" : "Denied"}: ${plural(which.length, "call")}`);
    setMarked(new Set());
    await again();
  }
  const chosen = all.filter((one) => marked.has(one.tool_use.id));
  const toggle = (id: string) => setMarked((before) => { const next = new Set(before); if (!next.delete(id)) next.add(id); return next; });
  const move = (by: number) => {
    const next = Math.max(0, Math.min(all.length - 1, at + by));
    setAt(next);
    requestAnimationFrame(() => document.querySelector(`[data-approval="${next}"]`)?.scrollIntoView({ block: "nearest" }));
  };
  useShortcuts("Approvals", [
    { keys: "j", does: "Next call", run: () => move(1) },
    { keys: "k", does: "Previous call", run: () => move(-1) },
    { keys: "x", does: "Mark the call", run: () => current && toggle(current.tool_use.id) },
    { keys: "y", does: "Allow the call, or all that are marked", run: () => void answer(chosen.length > 0 ? chosen : current ? [current] : [], true) },
    { keys: "d", does: "Deny the call, or all that are marked", run: () => void answer(chosen.length > 0 ? chosen : current ? [current] : [], false) },
  ]);

  return (
    <Page
      title="Approvals"
      aside={chosen.length === 0 ? switched : <><span className="text-sm text-soft">{chosen.length} marked</span><Button look="danger" onClick={() => answer(chosen, false)}>Deny</Button><Button look="primary" onClick={() => answer(chosen, true)}>Allow</Button></>}
    >
      {!data ? (error ? <Problem error={error} retry={() => void refetch()} /> : <Lines />) : all.length === 0 ? (
        <Empty icon="approvals" title="Nothing waits for you"><p>Calls of tools that ask first appear here, whichever session makes them.</p></Empty>
      ) : (
        <>
          <p className="mb-3 text-sm text-soft max-sm:hidden"><Kbd>j</Kbd> <Kbd>k</Kbd> move, <Kbd>y</Kbd> allows, <Kbd>d</Kbd> denies, <Kbd>x</Kbd> marks several</p>
          <ul className="space-y-3" aria-label="Calls that wait">
            {all.map((one, index) => {
              const custom = one.answer !== "user.tool_confirmation";
              return (
                <li key={one.tool_use.id} data-approval={index}>
                  <Card className={`overflow-hidden ${one === current ? "outline-2 outline-accent" : ""}`}>
                    <div className="flex items-center gap-3 px-3 py-2.5" onPointerDown={() => setAt(index)}>
                      {!custom && <input type="checkbox" aria-label={`Mark ${one.tool_use.name}`} checked={marked.has(one.tool_use.id)} onChange={() => toggle(one.tool_use.id)} className="size-4 accent-accent" />}
                      <Icon name={ICONS[one.tool_use.name] ?? "tool"} className="text-faint" />
                      <span className="font-medium">{one.tool_use.name}</span>
                      <span className="min-w-0 flex-1 truncate text-right text-sm text-soft">
                        {one.agent_name} · <Link to="/sessions/$session" params={{ session: one.session_id }} search={{ event: one.tool_use.id }} className="text-accent underline underline-offset-2">{one.session_title ?? "Untitled session"}</Link>
                      </span>
                    </div>
                    <div className="border-t border-line"><Body tool={{ origin: origin(one.tool_use.type), name: one.tool_use.name, input: one.tool_use.input, status: "asks" }} /></div>
                    <Answer tool={{ id: one.tool_use.id, origin: origin(one.tool_use.type) }} session={one.session_id} onDone={() => void again()} />
                  </Card>
                </li>
              );
            })}
          </ul>
        </>
      )}
    </Page>
  );
}
