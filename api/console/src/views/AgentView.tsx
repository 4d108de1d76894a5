// One agent: what it is now, what it was, and what changed in between.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import type { Agent } from "../api/schema";
import { full } from "../lib/format";
import { post } from "../lib/http";
import { agent as question, versions } from "../lib/queries";
import { attempt } from "../session/actions";
import { presetAgent } from "../shell/preset";
import { newSession } from "../shell/Shell";
import { Button, Card, Chip, IconButton, Lines, Page, Problem } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { Dialog, Menu } from "../ui/overlay";
import { AgentForm } from "./AgentForm";

const Diff = lazy(() => import("../session/Diff"));

/** A version as text, one field a line, so that two can be laid side by side. */
function written(agent: Agent): string {
  const { name, model, harness, description, system, tools, mcp_servers, mail, metadata } = agent;
  const parts = { name, model: model.id, harness: harness ?? "native", description: description ?? "", tools, mcp_servers, ...(mail ? { mail } : {}), metadata };
  return `${JSON.stringify(parts, null, 2)}\n\nSystem prompt\n${system ?? ""}\n`;
}

export function AgentView() {
  const { agent: id } = useParams({ from: "/shell/agents/$agent" });
  const search = useSearch({ from: "/shell/agents/$agent" });
  const navigate = useNavigate({ from: "/agents/$agent" });
  const client = useQueryClient();
  const { data: agent, error } = useQuery(question(id));
  const { data: all } = useQuery(versions(id));
  const [editing, setEditing] = useState(false);
  const again = () => Promise.all(["agent", "versions", "agents"].map((name) => client.invalidateQueries({ queryKey: name === "agents" ? [name] : [name, id] })));
  const save = useMutation({
    mutationFn: (body: Record<string, unknown>) => post<Agent>(`/agents/${id}`, body),
    onSuccess: () => { setEditing(false); void again(); },
  });
  if (!agent) return error ? <Problem error={error} /> : <Lines />;
  const newest = agent.version;
  const right = Number(search.right ?? newest);
  const left = Number(search.left ?? Math.max(1, right - 1));
  const [before, after] = [all?.find((one) => one.version === left), all?.find((one) => one.version === right)];
  const toolset = agent.tools.length === 0 ? "none" : agent.tools.map((tool) => String((tool as { name?: string; type?: string }).name ?? (tool as { type?: string }).type).replace(/_\d+$/, "").replaceAll("_", " ")).join(", ");
  return (
    <Page
      title={<span className="flex items-center gap-2"><Link to="/agents" aria-label="All agents" className="text-faint hover:text-text"><Icon name="chevron" className="rotate-180" /></Link>{agent.name}{agent.archived_at && <Chip>Archived</Chip>}</span>}
      aside={!agent.archived_at && <>
        <Button onClick={() => { presetAgent(id); newSession(); }}>Try it now</Button>
        <Button look="primary" icon="edit" onClick={() => setEditing(true)}>Edit</Button>
        <Menu trigger={<IconButton icon="more" label="Actions" />} actions={[{ label: "Archive", icon: "archive", danger: true, run: () => void attempt(post(`/agents/${id}/archive`)).then(again) }]} />
      </>}
    >
      <div className="grid gap-6 lg:grid-cols-[minmax(0,1fr)_260px]">
        <div className="min-w-0 space-y-6">
          <Card className="p-4">
            <dl className="grid gap-x-6 gap-y-3 text-sm sm:grid-cols-2">
              <div><dt className="text-faint">Model</dt><dd>{agent.model.id}</dd></div>
              <div><dt className="text-faint">Harness</dt><dd>{agent.harness ?? "native"}</dd></div>
              <div><dt className="text-faint">Tools</dt><dd>{toolset}</dd></div>
              <div><dt className="text-faint">Id</dt><dd className="font-mono text-xs leading-5 wrap-anywhere">{agent.id}</dd></div>
              <div><dt className="text-faint">Mail</dt><dd>{agent.mail ? <Link to="/mail" search={{ box: `agent/${agent.name}` }} className="text-accent hover:underline">agent/{agent.name}</Link> : "Takes none"}</dd></div>
              {agent.description && <div className="sm:col-span-2"><dt className="text-faint">Description</dt><dd>{agent.description}</dd></div>}
            </dl>
            <h2 className="mt-4 mb-1 text-sm text-faint">System prompt</h2>
            {agent.system ? <pre tabIndex={0} className="max-h-80 overflow-auto rounded-lg bg-sunken p-3 font-mono text-[12.5px] leading-5 whitespace-pre-wrap wrap-anywhere">{agent.system}</pre> : <p className="text-sm text-soft">None of its own.</p>}
          </Card>
          {before && after && before !== after && (
            <Card className="overflow-hidden">
              <h2 className="px-4 py-2.5 font-medium">Version {left} to {right}</h2>
              <div className="border-t border-line"><Suspense fallback={<div className="h-40" />}><Diff path="" names={[`Version ${left}`, `Version ${right}`]} before={written(before)} after={written(after)} /></Suspense></div>
            </Card>
          )}
        </div>
        <section aria-label="Versions">
          <h2 className="mb-2 text-sm font-medium text-soft">Versions</h2>
          <ol className="space-y-1">
            {all?.map((one) => (
              <li key={one.version}>
                <button type="button" aria-pressed={one.version === right} onClick={() => void navigate({ search: { right: String(one.version), left: String(Math.max(1, one.version - 1)) }, replace: true })} className={`block w-full rounded-lg px-3 py-2 text-left text-sm ${one.version === right ? "bg-accent-soft" : "hover:bg-hover"}`}>
                  <span className="font-medium">Version {one.version}</span>{one.version === newest && <span className="ml-2 text-xs text-accent">newest</span>}
                  <span className="block text-xs text-faint">{full(one.updated_at)}</span>
                </button>
              </li>
            ))}
          </ol>
          <p className="mt-4 text-sm"><Link to="/" search={{ agent: id }} className="text-accent hover:underline">Its sessions</Link></p>
        </section>
      </div>
      <Dialog open={editing} onClose={() => setEditing(false)} title={`Edit ${agent.name}`}>{editing && <AgentForm agent={agent} save={(body) => save.mutate(body)} busy={save.isPending} error={save.error} onCancel={() => setEditing(false)} />}</Dialog>
    </Page>
  );
}
