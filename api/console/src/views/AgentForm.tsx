// An agent's fields, for a new one and for the next version of one.
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { Agent } from "../api/schema";
import { environments, login } from "../lib/queries";
import { HarnessField } from "../session/dialogs";
import { TOOLS } from "../shell/preset";
import { Button, Field, Problem } from "../ui/basics";

const POLICIES = [
  { value: "auto", label: "As the server decides" },
  { value: "always_allow", label: "Run at once" },
  { value: "always_ask", label: "Ask first" },
];

/** Which session of an agent a message goes to. */
const DESKS = [
  { value: "per_thread", label: "One session a thread" },
  { value: "single", label: "One session for all" },
  { value: "per_message", label: "A new session a message" },
];

export interface Desk {
  environment_id: string;
  sessions: string;
}

interface Toolset {
  type: string;
  default_config?: { enabled?: boolean; permission_policy?: { type?: string } };
  [field: string]: unknown;
}

const isToolset = (tool: unknown): tool is Toolset => (tool as Toolset).type?.startsWith("agent_toolset") ?? false;
const isMail = (tool: unknown) => (tool as Toolset).type === "mail_toolset";

export function AgentForm({ agent, save, busy, error, onCancel }: { agent?: Agent; save: (body: Record<string, unknown>) => void; busy: boolean; error: unknown; onCancel: () => void }) {
  const me = useQuery(login);
  const places = useQuery(environments());
  const toolset = agent?.tools.find(isToolset);
  const desk = agent?.mail as Desk | null | undefined;
  const [name, setName] = useState(agent?.name ?? "");
  const [model, setModel] = useState(agent?.model.id ?? me.data?.default_model ?? "");
  const [brain, setBrain] = useState(agent?.harness ?? "native");
  const [system, setSystem] = useState(agent?.system ?? "");
  const [description, setDescription] = useState(agent?.description ?? "");
  const [tools, setTools] = useState(agent ? Boolean(toolset) : true);
  const [policy, setPolicy] = useState(toolset?.default_config?.permission_policy?.type ?? "auto");
  const [writes, setWrites] = useState(agent?.tools.some(isMail) ?? false);
  const [place, setPlace] = useState(desk?.environment_id ?? "");
  const [sessions, setSessions] = useState(desk?.sessions ?? "per_thread");

  function submit(event: FormEvent) {
    event.preventDefault();
    const others = agent?.tools.filter((tool) => !isToolset(tool) && !isMail(tool)) ?? [];
    const mail = writes ? [agent?.tools.find(isMail) ?? { type: "mail_toolset" }] : [];
    const before = toolset?.default_config?.permission_policy?.type ?? "auto";
    let ours: unknown[] = [];
    if (tools) ours = toolset && before === policy ? [toolset] : [{ ...TOOLS[0], ...(policy === "auto" ? {} : { default_config: { enabled: true, permission_policy: { type: policy } } }) }];
    save({ name, model, harness: brain, system: system || null, description: description || null, tools: [...ours, ...mail, ...others], mail: place ? { environment_id: place, sessions } : null, ...(agent ? { version: agent.version } : {}) });
  }
  return (
    <form onSubmit={submit} className="space-y-4">
      <Field label="Name">{(props) => <input {...props} className="field" required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}</Field>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="Model" hint="claude-…, PROVIDER/MODEL, or rehearsal-1">{(props) => <input {...props} className="field" required value={model} onChange={(event) => setModel(event.target.value)} />}</Field>
        <HarnessField value={brain} onChange={setBrain} />
      </div>
      <Field label="System prompt">{(props) => <textarea {...props} rows={6} className="field font-mono text-sm!" value={system} onChange={(event) => setSystem(event.target.value)} />}</Field>
      <Field label="Description">{(props) => <input {...props} className="field" value={description} onChange={(event) => setDescription(event.target.value)} />}</Field>
      <fieldset className="grid items-end gap-4 sm:grid-cols-2">
        <legend className="sr-only">Tools</legend>
        <label className="flex h-[34px] items-center gap-2 text-sm"><input type="checkbox" className="size-4 accent-accent" checked={tools} onChange={(event) => setTools(event.target.checked)} /> Shell and file tools</label>
        <Field label="Before a call">{(props) => <select {...props} className="field" disabled={!tools} value={policy} onChange={(event) => setPolicy(event.target.value)}>{POLICIES.map((one) => <option key={one.value} value={one.value}>{one.label}</option>)}</select>}</Field>
      </fieldset>
      <fieldset className="grid items-end gap-4 sm:grid-cols-2">
        <legend className="sr-only">Mail</legend>
        <label className="flex h-[34px] items-center gap-2 text-sm sm:col-span-2"><input type="checkbox" className="size-4 accent-accent" checked={writes} onChange={(event) => setWrites(event.target.checked)} /> May write mail to others</label>
        <Field label="Takes mail">
          {(props) => (
            <select {...props} className="field" value={place} onChange={(event) => setPlace(event.target.value)}>
              <option value="">No</option>
              {place && !places.data?.some((one) => one.id === place) && <option value={place}>In {place}</option>}
              {places.data?.map((one) => <option key={one.id} value={one.id}>In {one.name}</option>)}
            </select>
          )}
        </Field>
        <Field label="Answers in">{(props) => <select {...props} className="field" disabled={!place} value={sessions} onChange={(event) => setSessions(event.target.value)}>{DESKS.map((one) => <option key={one.value} value={one.value}>{one.label}</option>)}</select>}</Field>
      </fieldset>
      {error ? <Problem error={error} /> : null}
      <div className="flex justify-end gap-2"><Button onClick={onCancel}>Cancel</Button><Button look="primary" type="submit" busy={busy}>{agent ? `Save as version ${agent.version + 1}` : "Create"}</Button></div>
    </form>
  );
}
